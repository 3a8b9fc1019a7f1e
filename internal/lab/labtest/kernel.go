package labtest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

// A Kernel is one of Debian's, as unpacked in the cache.
type Kernel struct {
	Image   string // to start
	trees   string // directory of device trees
	modules string // directory of the kernel's release
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
	return Kernel{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "dtb"), releases[0]}
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
	records, err := k.records(want)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	if err := cpio.WriteRecordsAndDirs(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(name, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (k Kernel) records(want Initramfs) ([]cpio.Record, error) {
	init, err := staticFile("init", want.Init)
	if err != nil {
		return nil, err
	}
	records := []cpio.Record{init}
	for _, dir := range []string{"dev", "proc", "sys", "mnt"} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	records = append(records, cpio.CharDev("dev/console", 0o600, 5, 1)) // what /init writes to
	for _, name := range slices.Sorted(maps.Keys(want.Files)) {
		file, err := staticFile(name, want.Files[name])
		if err != nil {
			return nil, err
		}
		records = append(records, file)
	}
	files, err := k.loadOrder(want.Modules)
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		module, err := staticFile(fmt.Sprintf("modules/%03d-%s", i, moduleName(file)), filepath.Join(k.modules, file))
		if err != nil {
			return nil, err
		}
		records = append(records, module)
	}
	return records, nil
}

// staticFile is the file at path under another name.
func staticFile(name, path string) (cpio.Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cpio.Record{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return cpio.Record{}, err
	}
	return cpio.StaticFile(name, string(data), uint64(info.Mode().Perm())), nil
}
