package labtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/linux/initramfs"
)

// A Kernel is one of Debian's, as unpacked in the cache.
type Kernel struct {
	Image   string // to start
	Modules string // directory of the kernel's release, in lib/modules
	trees   string // directory of device trees
}

// NewKernel finds Debian's kernel in the cache, or fetches it, which takes half
// a minute.
func NewKernel(t testing.TB, arch Arch) Kernel {
	t.Helper()
	dir := strings.TrimSpace(run(t, exec.Command(filepath.Join(here(), "kernel.sh"), string(arch))))
	releases, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("modules of kernels in %s: %q, %v, want one", dir, releases, err)
	}
	return Kernel{filepath.Join(dir, "vmlinuz"), releases[0], filepath.Join(dir, "dtb")}
}

// Tree returns the file of a device tree.
func (k Kernel) Tree(name string) string { return filepath.Join(k.trees, name) }

// An Initramfs is what the kernel unpacks and starts before all else.
type Initramfs struct {
	Init    string            // the program that becomes /init
	Modules []string          // names of modules, which package guest loads, with what they need
	Files   map[string]string // further files and where they come from
}

// Initramfs writes an initramfs and returns its path.
func (k Kernel) Initramfs(t testing.TB, want Initramfs) string {
	t.Helper()
	archive := initramfs.Archive{Init: readFile(t, want.Init), Modules: want.Modules, Files: map[string][]byte{}}
	for name, path := range want.Files {
		archive.Files[name] = readFile(t, path)
	}
	name := filepath.Join(t.TempDir(), "initramfs")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(archive.Write(f, os.DirFS(k.Modules)), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
