package nfsroot

import (
	"bytes"
	"maps"
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
)

// unpack has gzip and cpio list an initramfs.
func unpack(t *testing.T, archive []byte) []string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", "gzip -dc | cpio -t --quiet")
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gzip, cpio: %v (apt-get install gzip cpio)", err)
	}
	return strings.Fields(string(out))
}

// TestInitramfs makes the initramfs of Debian's kernel twice, under the names of two
// flavours, and compares the modules inside with what the kernel's index says of each.
func TestInitramfs(t *testing.T) {
	kernel := labtest.NewKernel(t, labtest.ARM64)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "lib/modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"6.1.21-v7+", "6.12.25+rpt-rpi-v8"} {
		if err := os.Symlink(kernel.Modules, filepath.Join(dir, "lib/modules", release)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Initramfs(os.DirFS(dir), "boot", []byte("program"), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, []string{"initramfs7", "initramfs8"}) {
		t.Errorf("initramfs %q, want those of v7 and v8", got)
	}
	want, err := initramfs.LoadOrder(os.DirFS(kernel.Modules), slices.Concat(alsoIf, modules))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range want {
		name, _, _ := strings.Cut(filepath.Base(file), ".ko")
		names = append(names, strings.ReplaceAll(name, "-", "_"))
	}
	var got []string
	for _, name := range unpack(t, files["initramfs8"]) {
		if module, ok := strings.CutPrefix(name, "modules/"); ok {
			_, module, _ = strings.Cut(module, "-")
			got = append(got, module)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("modules: -want +got:\n%s", diff)
	}
	files, err = Initramfs(os.DirFS(dir), "boot", []byte("program"), "6.99.0-v8")
	if got := slices.Sorted(maps.Keys(files)); err != nil || !slices.Equal(got, []string{"initramfs8"}) {
		t.Errorf("of v8 alone: %q, %v", got, err)
	}
}

// TestMissingModule has a kernel lack what a node needs.
func TestMissingModule(t *testing.T) {
	tree := fstest.MapFS{
		"lib/modules/6.12.25+rpt-rpi-v8/kernel/x.ko":     {},
		"lib/modules/6.12.25+rpt-rpi-v8/modules.dep":     {Data: []byte("kernel/drivers/usb/dwc2/dwc2.ko:\n")},
		"lib/modules/6.12.25+rpt-rpi-v8/modules.builtin": {Data: []byte("kernel/libcomposite.ko\nkernel/usb_f_ecm.ko\nkernel/usb_f_ncm.ko\nkernel/usb_f_acm.ko\n")},
	}
	_, err := Initramfs(tree, "boot", []byte("program"), "")
	const want = "initramfs of kernel 6.12.25+rpt-rpi-v8: usb_f_rndis: no such kernel module: a node without a card needs it"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}
