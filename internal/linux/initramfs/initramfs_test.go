package initramfs_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/linux/initramfs"
	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"
)

// TestLoadOrder holds the order against modprobe's.
func TestLoadOrder(t *testing.T) {
	for arch, names := range map[labtest.Arch][]string{
		labtest.AMD64: {"ext4", "vfat", "usb_f_rndis", "dummy-hcd", "virtio_blk", "rndis_host", "nfsv4"},
		labtest.ARM64: {"ext4", "sdhci_iproc", "bcm2835", "usb_f_ncm"},
		labtest.ARMv6: {"ext4", "usb_f_acm"},
	} {
		k := labtest.NewKernel(t, arch)
		for _, name := range names {
			got, err := initramfs.LoadOrder(os.DirFS(k.Modules), []string{name})
			if err != nil {
				t.Errorf("%s: %v", arch, err)
			}
			if diff := cmp.Diff(modprobe(t, k.Modules, name), got); diff != "" {
				t.Errorf("%s: %s: -modprobe +ours:\n%s", arch, name, diff)
			}
		}
	}
}

func modprobe(t *testing.T, modules, name string) []string {
	root, _, _ := strings.Cut(modules, "/lib/modules/")
	out, err := exec.Command("/usr/sbin/modprobe", "-d", root, "-S", filepath.Base(modules), "--show-depends", name).Output()
	if err != nil {
		t.Fatalf("modprobe %s: %v", name, err)
	}
	var files []string
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "insmod" {
			file := strings.TrimPrefix(words[1], modules+"/")
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// packaged is a kernel's modules as a package has them, before depmod ran.
type packaged struct{ fs.FS }

func (p packaged) Open(name string) (fs.File, error) {
	switch name {
	case "modules.dep", "modules.alias", "modules.softdep":
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return p.FS.Open(name)
}

// TestLoadOrderBeforeDepmod takes the order from the modules themselves. It must have the
// modules that modprobe would load, except for faster variants for some processors, and
// each must come after those that depmod says it needs.
func TestLoadOrderBeforeDepmod(t *testing.T) {
	for arch, names := range map[labtest.Arch][]string{
		labtest.AMD64: {"ext4", "vfat", "usb_f_rndis", "dummy-hcd", "virtio_blk", "rndis_host", "nfsv4"},
		labtest.ARM64: {"ext4", "virtio_blk", "usbip-vudc", "vhci-hcd", "usb_f_ncm", "cdc-acm", "bridge", "nft_masq"},
		labtest.ARMv6: {"ext4", "usb_f_acm"},
	} {
		k := labtest.NewKernel(t, arch)
		for _, name := range names {
			got, err := initramfs.LoadOrder(packaged{os.DirFS(k.Modules)}, []string{name})
			if err != nil {
				t.Fatalf("%s: %v", arch, err)
			}
			want := slices.DeleteFunc(modprobe(t, k.Modules, name), func(file string) bool { return strings.HasPrefix(file, "kernel/arch/") })
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); diff != "" {
				t.Errorf("%s: %s: -modprobe +ours:\n%s", arch, name, diff)
			}
			for i, file := range got {
				for _, need := range depmod(t, k.Modules)[file] {
					if at := slices.Index(got, need); at < 0 || at > i {
						t.Errorf("%s: %s needs %s, which is at %d of %q", arch, file, need, at, got)
					}
				}
			}
		}
	}
}

// depmod returns what each file needs, as depmod says in modules.dep.
func depmod(t *testing.T, modules string) map[string][]string {
	text, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		needs[strings.TrimSuffix(words[0], ":")] = words[1:]
	}
	return needs
}

func TestLoadOrderRefuses(t *testing.T) {
	k := labtest.NewKernel(t, labtest.AMD64)
	if order, err := initramfs.LoadOrder(os.DirFS(k.Modules), []string{"ext4", "no_such"}); err == nil {
		t.Errorf("loadOrder(no_such) = %q", order)
	}
	if order, err := initramfs.LoadOrder(os.DirFS(k.Modules), []string{"configfs", "8250"}); err != nil || len(order) > 1 {
		t.Errorf("loadOrder of what is built in = %q, %v", order, err)
	}
}

func TestInitramfs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := labtest.NewKernel(t, labtest.AMD64).Initramfs(t, labtest.Initramfs{
		Init: program, Modules: []string{"vfat"}, Files: map[string]string{"bin/sh": program},
	})
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		if r.Mode&cpio.S_IFMT == cpio.S_IFREG && r.Mode&0o111 != 0 {
			r.Name += "*"
		}
		got = append(got, r.Name)
	}
	want := []string{".", "init*", "dev", "proc", "sys", "mnt", "dev/console", "bin", "bin/sh*", "modules", "modules/000-fat", "modules/001-vfat"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("initramfs: -want +got:\n%s", diff)
	}
}

// TestDir has an archive stand before another: cpio finds both, the second where the
// kernel looks for it, at a multiple of four bytes.
func TestDir(t *testing.T) {
	var first bytes.Buffer
	archive := initramfs.Archive{Init: []byte("first"), Modules: []string{"vfat"}, Dir: "apart"}
	if err := archive.Write(&first, os.DirFS(labtest.NewKernel(t, labtest.AMD64).Modules)); err != nil {
		t.Fatal(err)
	}
	if first.Len()%4 != 0 {
		t.Errorf("%d bytes, want a multiple of 4", first.Len())
	}
	list := exec.Command("cpio", "-t", "--quiet")
	list.Stdin = &first
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"apart", "apart/init", "apart/dev", "apart/proc", "apart/sys", "apart/mnt", "apart/dev/console", "apart/modules", "apart/modules/000-fat", "apart/modules/001-vfat"}
	if diff := cmp.Diff(want, strings.Fields(string(out))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestExchange gives an archive of one kernel the modules of another, by which cpio
// finds them in order.
func TestExchange(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(labtest.NewKernel(t, labtest.ARM64).Initramfs(t, labtest.Initramfs{Init: program, Modules: []string{"vfat", "libcomposite", "dwc2"}}))
	if err != nil {
		t.Fatal(err)
	}
	k := labtest.NewKernel(t, labtest.AMD64)
	for _, pack := range []string{"cat", "gzip", "zstd"} {
		cmd := exec.Command(pack)
		cmd.Stdin = bytes.NewReader(old)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		exchanged, err := initramfs.Exchange(packed, os.DirFS(k.Modules), []string{"fat", "no_such"})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		cpio := exec.Command("cpio", "-id", "--quiet", "--no-absolute-filenames", "init", "modules/*")
		cpio.Dir, cpio.Stdin = dir, bytes.NewReader(exchanged)
		if out, err := cpio.CombinedOutput(); err != nil {
			t.Fatalf("cpio: %v\n%s", err, out)
		}
		got, err := filepath.Glob(dir + "/modules/*-vfat")
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: modules vfat %q, %v; want one", pack, got, err)
		}
		module, err := os.ReadFile(got[0])
		if want := "vermagic=" + filepath.Base(k.Modules) + " "; err != nil || !strings.Contains(string(module), want) {
			t.Errorf("%s: vfat (%v) has not %s", pack, err, want)
		}
		if got, err := os.ReadFile(dir + "/init"); err != nil || string(got) != "#!" {
			t.Errorf("%s: init is %q, %v", pack, got, err)
		}
		if got, err := filepath.Glob(dir + "/modules/*-dwc2"); err != nil || len(got) > 1 {
			t.Errorf("%s: %q, %v", pack, got, err)
		}
	}
	if _, err := initramfs.Exchange([]byte("text"), os.DirFS(k.Modules), nil); err == nil || err.Error() != "initramfs: neither cpio nor packed by gzip or zstd" {
		t.Errorf("of a text: %v", err)
	}
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte("070701"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Add(append([]byte("070701"), bytes.Repeat([]byte("f"), 200)...)) // sizes that are too large
	f.Fuzz(func(t *testing.T, b []byte) {
		initramfs.Exchange(b, fstest.MapFS{"modules.dep": {}}, nil) // does not panic
	})
}
