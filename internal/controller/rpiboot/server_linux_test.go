package rpiboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// write writes files below a directory; the text of a link is its target behind "->".
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if target, link := strings.CutPrefix(text, "->"); err == nil && link {
			err = os.Symlink(target, name)
		} else if err == nil {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLookUnconfigured: a device that the kernel has announced, but not yet configured,
// is looked at again when its interfaces come.
func TestLookUnconfigured(t *testing.T) {
	usbDevices = t.TempDir()
	t.Cleanup(func() { usbDevices = sysDevices })
	write(t, usbDevices, map[string]string{
		"1-1/idVendor": "0a5c\n", "1-1/busnum": "240\n", "1-1/devnum": "5\n", "1-1/bConfigurationValue": "\n",
	})
	failed := make(chan Event, 1)
	b := bus{server: &Server{Report: func(e Event) { failed <- e }}}
	look := func() {
		t.Helper()
		if _, err := b.look(); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if len(b.known) > 0 {
		t.Fatalf("served before it is configured: %v", b.known)
	}
	write(t, usbDevices, map[string]string{"1-1/bConfigurationValue": "1\n"})
	look()
	if e := <-failed; e.Step != Failed || e.Path != "1-1" { // there is no such file in /dev
		t.Fatalf("got %+v", e)
	}
	if look(); !b.known[address{"1-1", 240, 5}] || len(failed) > 0 {
		t.Fatalf("served twice, or not known: %v", b.known)
	}
}

// TestOverlay says which of the files of one name a Pi gets.
func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"secret":                                  "the controller's",
		"firmware/bootcode.bin":                   "newer bootcode",
		"firmware/start.elf":                      "newer start",
		"firmware/cmdline.txt":                    "not taken",
		"boot/bootcode.bin":                       "->../firmware/bootcode.bin",
		"boot/start.elf":                          "common start",
		"boot/config.txt":                         "common",
		"boot/2710/config.txt":                    "of the chip",
		"boot/2710/start.elf":                     "start of the chip",
		"boot/1-1.2":                              "->" + dir + "/nfs/p5/boot/firmware",
		"boot/1-1.3":                              "->../nfs/p6/boot/firmware",
		"boot/1-1.4":                              "->" + dir + "/nfs/p7/boot/firmware",
		"boot/1-1.5/config.txt":                   "in place",
		"nfs/p5/boot/firmware/config.txt":         "of p5",
		"nfs/p5/boot/firmware/bootcode.bin":       "of p5",
		"nfs/p5/boot/firmware/stolen":             "->../../../../secret",
		"nfs/p5/boot/firmware/absolute":           "->" + dir + "/secret",
		"nfs/p5/boot/firmware/inside":             "->../../etc/hostname",
		"nfs/p5/etc/hostname":                     "p5",
		"nfs/p6/boot/firmware":                    "->../../../firmware",
		"nfs/p7/boot/firmware/overlays/dwc2.dtbo": "of p7",
		"boot/1-1.6":                              "->../nfs/p8/boot",
		"nfs/p8/boot/kernel8.img":                 "of 64 bits",
	})
	if err := unix.Mkfifo(filepath.Join(dir, "nfs/p5/boot/firmware/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	places := map[string]Place{filepath.Join(dir, "nfs"): Roots(filepath.Join(dir, "nfs"))}
	for _, tt := range []struct {
		name, path, chip, file string
		firmware               bool
		want                   string // the file's text, or what its error says
	}{
		{"node before common", "1-1.2", "", "config.txt", false, "of p5"},
		{"chip before common", "1-9", "2710", "config.txt", false, "of the chip"},
		{"node before chip", "1-1.2", "2710", "config.txt", false, "of p5"},
		{"common if all else lacks it", "1-1.4", "2711", "config.txt", false, "common"},
		{"node of no link", "1-1.5", "", "config.txt", false, "in place"},
		{"firmware before all", "1-1.2", "2710", "start.elf", true, "newer start"},
		{"no more than firmware", "1-1.4", "", "cmdline.txt", true, "does not exist"},
		{"a controller's link", "1-1.4", "", "bootcode.bin", false, "newer bootcode"},
		{"below", "1-1.4", "", "overlays/dwc2.dtbo", false, "of p7"},
		{"link within the boot directory only", "1-1.2", "", "inside", false, "escapes"},
		{"link out of the root", "1-1.2", "", "stolen", false, "escapes"},
		{"absolute link", "1-1.2", "", "absolute", false, "escapes"},
		{"pipe", "1-1.2", "", "pipe", false, "no file"},
		{"64 bits for a chip of 64", "1-1.6", "2710", "kernel8.img", false, "of 64 bits"},
		{"64 bits for a chip of 32", "1-1.6", "", "config.txt", false, "want a 32-bit system"},
		{"node whose boot directory leads away", "1-1.3", "", "start.elf", false, "escapes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Server{Dir: filepath.Join(dir, "boot"), Places: places, Overlay: true}
			if tt.firmware {
				s.Firmware = filepath.Join(dir, "firmware")
			}
			got := text(&s, tt.path, tt.chip, tt.file)
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	s := Server{Dir: filepath.Join(dir, "boot"), Places: places}
	if got := text(&s, "1-1.2", "2710", "config.txt"); got != "common" {
		t.Errorf("without overlay: got %q", got)
	}
}

// text returns what a Pi gets for a file, or what the error says.
func text(s *Server, usbPath, chip, name string) string {
	files, closeFiles, err := s.files(usbPath, chip)
	if err != nil {
		return err.Error()
	}
	defer closeFiles()
	f, size, err := open(files, name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	buf := make([]byte, size)
	if _, err := f.Read(buf); err != nil {
		return err.Error()
	}
	return string(buf)
}
