package kmod

import (
	"bytes"
	"errors"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// modules is an index as depmod writes it.
var modules = fstest.MapFS{
	"modules.dep": {Data: []byte(`kernel/fs/configfs/configfs.ko.xz:
kernel/drivers/usb/common/usb-common.ko.xz:
kernel/drivers/usb/gadget/udc/udc-core.ko.xz: kernel/drivers/usb/common/usb-common.ko.xz
kernel/drivers/usb/gadget/libcomposite.ko.xz: kernel/drivers/usb/gadget/udc/udc-core.ko.xz kernel/drivers/usb/common/usb-common.ko.xz kernel/fs/configfs/configfs.ko.xz
a.ko: b.ko
b.ko: a.ko gone.ko
`)},
	"modules.builtin": {Data: []byte("kernel/drivers/usb/dwc2/dwc2.ko\nkernel/fs/fat/vfat.ko\n")},
}

func TestOrder(t *testing.T) {
	x, err := readIndex(modules)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		module string
		want   string // names in their order
		err    error
	}{
		{"configfs", "configfs", nil},
		{"libcomposite", "usb_common udc_core configfs libcomposite", nil},
		{"udc-core", "usb_common udc_core", nil},
		{"udc_core", "usb_common udc_core", nil},
		{"dwc2", "", nil},
		{"b", "a b", nil}, // a loop, and a file that the index does not know
		{"usb_f_rndis", "", ErrNotFound},
		{"gone", "", ErrNotFound},
	} {
		t.Run(tt.module, func(t *testing.T) {
			files, err := x.order(tt.module)
			var names []string
			for _, file := range files {
				names = append(names, moduleName(file))
			}
			if got := strings.Join(names, " "); got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("order() = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestNoIndex(t *testing.T) {
	x, err := readIndex(fstest.MapFS{})
	if err != nil {
		t.Fatalf("a kernel without modules: %v", err)
	}
	if _, err := x.order("vfat"); !errors.Is(err, ErrNotFound) {
		t.Errorf("order() = %v; want %v", err, ErrNotFound)
	}
}

func TestRead(t *testing.T) {
	elf := bytes.Repeat([]byte("\x7fELF, as it were. "), 5000)
	dir := fstest.MapFS{"m.ko": {Data: elf}, "m.ko.lz4": {Data: elf}, "cut.ko.xz": {Data: []byte("\xfd7zXZ\x00")}}
	for extension, command := range map[string][]string{
		".xz":  {"xz", "--check=crc32", "--lzma2=dict=1MiB", "-c"}, // as the kernel's makefile does
		".gz":  {"gzip", "-nc"},
		".zst": {"zstd", "-19", "-c"},
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin = bytes.NewReader(elf)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v (apt-get install xz-utils gzip zstd)", command, err)
		}
		dir["m.ko"+extension] = &fstest.MapFile{Data: packed}
	}
	for _, tt := range []struct {
		file string
		ok   bool
	}{
		{"m.ko", true}, {"m.ko.xz", true}, {"m.ko.gz", true}, {"m.ko.zst", true},
		{"m.ko.lz4", false}, {"cut.ko.xz", false},
	} {
		got, err := Read(dir, tt.file)
		if (err == nil) != tt.ok || tt.ok && !bytes.Equal(got, elf) {
			t.Errorf("Read(%s) = %d bytes, %v; want %t", tt.file, len(got), err, tt.ok)
		}
	}
	if _, err := Read(dir, "none.ko"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() of no file: %v", err)
	}
	if !slices.Equal([]bool{compressed("a.ko"), compressed("a.ko.xz")}, []bool{false, true}) {
		t.Error("compressed() mistakes one for the other")
	}
}
