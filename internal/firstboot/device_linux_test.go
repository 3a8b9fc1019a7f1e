package firstboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sysfs lays out two disks as the kernel shows them: mmcblk0 of which the
// kernel tells no PARTUUID, and sda of which it does.
func sysfs(t *testing.T) blockDevices {
	t.Helper()
	dir := t.TempDir()
	b := blockDevices{filepath.Join(dir, "class"), filepath.Join(dir, "dev")}
	file := func(name string, data []byte) {
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	disk := make([]byte, 1<<20)
	binary.LittleEndian.PutUint32(disk[440:], 0x5a3d1c0e)
	copy(disk[510:], "\x55\xaa")
	file("dev/mmcblk0", disk)
	file("dev/sda", disk)
	boot := make([]byte, 512)
	copy(boot[82:], "FAT32   ")
	binary.LittleEndian.PutUint32(boot[67:], 0xc0ffee07)
	copy(boot[71:], "BOOTFS     ")
	file("dev/mmcblk0p1", boot)
	file("dev/mmcblk0p2", make([]byte, 512))
	file("dev/sda1", boot[:100])
	file("devices/mmc/mmcblk0/uevent", []byte("DEVNAME=mmcblk0\n"))
	file("devices/mmc/mmcblk0/dev", []byte("179:0\n"))
	file("devices/mmc/mmcblk0/mmcblk0p1/partition", []byte("1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/dev", []byte("179:2\n"))
	file("devices/usb/sda/sda1/dev", []byte("8:1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p1/uevent", []byte("DEVNAME=mmcblk0p1\nPARTN=1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/partition", []byte("2\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/uevent", []byte("DEVNAME=mmcblk0p2\nPARTN=2\n"))
	file("devices/usb/sda/sda1/partition", []byte("1\n"))
	file("devices/usb/sda/sda1/uevent", []byte("PARTN=1\nPARTUUID=11112222-01\n"))
	must(os.Mkdir(b.sys, 0o755))
	for name, where := range map[string]string{
		"mmcblk0": "mmc/mmcblk0", "mmcblk0p1": "mmc/mmcblk0/mmcblk0p1", "mmcblk0p2": "mmc/mmcblk0/mmcblk0p2",
		"sda": "usb/sda", "sda1": "usb/sda/sda1",
	} {
		must(os.Symlink("../devices/"+where, filepath.Join(b.sys, name)))
	}
	return b
}

func TestFindDevice(t *testing.T) {
	b := sysfs(t)
	for _, tt := range []struct{ source, want string }{
		{"PARTUUID=5a3d1c0e-01", "mmcblk0p1"},
		{"PARTUUID=5A3D1C0E-02", "mmcblk0p2"},
		{"PARTUUID=11112222-01", "sda1"},
		{"PARTUUID=5a3d1c0e-03", ""},
		{"/dev/disk/by-partuuid/5a3d1c0e-01", "mmcblk0p1"},
		{"UUID=C0FF-EE07", "mmcblk0p1"},
		{"UUID=C0FF-EE08", ""},
		{"LABEL=BOOTFS", "mmcblk0p1"},
		{`LABEL="BOOTFS"`, "mmcblk0p1"},
		{"LABEL=BOOT", ""},
		{"/dev/mmcblk0p1", "mmcblk0p1"},
		{"/dev/mmcblk1p1", ""},
	} {
		got, err := b.find(tt.source)
		if tt.want == "" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("find(%q) = %q, %v; want one that there is not", tt.source, got, err)
			}
		} else if err != nil || got != filepath.Join(b.dev, tt.want) {
			t.Errorf("find(%q) = %q, %v; want %q", tt.source, got, err, tt.want)
		}
	}
	if _, err := b.find("nfs:/x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("find(nfs:/x): %v; want an error that waiting does not cure", err)
	}
}

func TestBesideRoot(t *testing.T) {
	b := sysfs(t)
	for _, tt := range []struct {
		major, minor uint32
		want         []string
	}{
		{179, 2, []string{filepath.Join(b.dev, "mmcblk0p1")}}, // and not sda1, on another disk
		{8, 1, nil},
		{179, 0, nil}, // no partition
		{0, 23, nil},  // no disk
	} {
		if got := b.beside(tt.major, tt.minor); !slices.Equal(got, tt.want) {
			t.Errorf("beside(%d, %d) = %q, want %q", tt.major, tt.minor, got, tt.want)
		}
	}
}

// What a card took and forgot is seen when it was flushed.
func TestForgetfulDevice(t *testing.T) {
	card, err := os.Create(filepath.Join(t.TempDir(), "card"))
	must(err)
	defer card.Close()
	must(card.Truncate(1 << 20))
	name, err := exec.Command("losetup", "--find", "--show", card.Name()).Output()
	if err != nil {
		t.Fatalf("losetup (the test needs root): %v", err)
	}
	path := strings.TrimSpace(string(name))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(err)
	must(exec.Command("losetup", "--detach", path).Run()) // when it is closed
	d := blockDevice{f}
	defer d.Close()
	sector := make([]byte, sectorSize)
	_, err = d.ReadAt(sector, 0)
	must(err)
	old := bytes.Clone(sector)
	copy(sector, "new")
	_, err = d.WriteAt(sector, 0)
	must(err)
	must(d.Sync())
	_, err = card.WriteAt(old, 0)
	must(err)
	if _, err := d.ReadAt(sector, 0); err != nil || !bytes.Equal(sector, old) {
		t.Errorf("read %q, %v; want what the card holds", sector[:3], err)
	}
}

func TestAwait(t *testing.T) {
	calls := 0
	if _, err := await(0, func() (string, error) { calls++; return "", fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) || calls != 1 {
		t.Errorf("%v after %d calls, want one call and its error", err, calls)
	}
	calls = 0
	path, err := await(time.Hour, func() (string, error) { calls++; return "x", nil })
	if path != "x" || err != nil || calls != 1 {
		t.Errorf("%q, %v after %d calls", path, err, calls)
	}
	// Nothing announces a device here: the time ends it.
	if _, err := await(time.Millisecond, func() (string, error) { return "", fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
