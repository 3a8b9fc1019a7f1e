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

	"clusterctrl/internal/format/mbr"
)

// sysfs lays out disks as the kernel shows them: mmcblk0, of which the kernel tells no
// PARTUUID; sda, of which it does; sdb, a copy of mmcblk0; and vda, whose id was changed
// after the kernel had read it.
func sysfs(t *testing.T) blockDevices {
	t.Helper()
	dir := t.TempDir()
	b := blockDevices{sys: dir, dev: filepath.Join(dir, "dev")}
	file := func(name string, data []byte) {
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	disk := make([]byte, 1<<20)
	binary.LittleEndian.PutUint32(disk[440:], 0x5a3d1c0e)
	copy(disk[510:], "\x55\xaa")
	file("dev/mmcblk0", disk)
	gpt := bytes.Clone(disk)
	gpt[446+4] = 0xee // the type of a partition that says so
	file("dev/sda", gpt)
	file("dev/sdb", disk)
	changed := bytes.Clone(disk)
	binary.LittleEndian.PutUint32(changed[440:], 0x7af4b646)
	file("dev/vda", changed)
	file("devices/virtio/vda/vda1/partition", []byte("1\n"))
	file("devices/virtio/vda/vda1/uevent", []byte("PARTN=1\nPARTUUID=731c1e00-01\n"))
	boot := make([]byte, 512)
	copy(boot[82:], "FAT32   ")
	binary.LittleEndian.PutUint32(boot[67:], 0xc0ffee07)
	copy(boot[71:], "BOOTFS     ")
	boot[66] = 0x29 // the name is there
	copy(boot[510:], "\x55\xaa")
	file("dev/mmcblk0p1", boot)
	file("dev/mmcblk0p2", make([]byte, 512))
	file("dev/sda1", boot[:100])
	file("dev/sdb1", boot)
	file("devices/mmc/mmcblk0/uevent", []byte("DEVNAME=mmcblk0\n"))
	file("devices/mmc/mmcblk0/dev", []byte("179:0\n"))
	file("devices/mmc/mmcblk0/mmcblk0p1/partition", []byte("1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p1/dev", []byte("179:1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/dev", []byte("179:2\n"))
	file("devices/usb/sda/sda1/dev", []byte("8:1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p1/uevent", []byte("DEVNAME=mmcblk0p1\nPARTN=1\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/partition", []byte("2\n"))
	file("devices/mmc/mmcblk0/mmcblk0p2/uevent", []byte("DEVNAME=mmcblk0p2\nPARTN=2\n"))
	file("devices/usb/sda/sda1/partition", []byte("1\n"))
	file("devices/usb/sda/sda1/uevent", []byte("PARTN=1\nPARTUUID=11112222-01\n"))
	file("devices/usb/sdb/sdb1/partition", []byte("1\n"))
	file("devices/usb/sdb/sdb1/dev", []byte("8:17\n"))
	file("devices/usb/sdb/sdb1/uevent", []byte("PARTN=1\n"))
	file("devices/usb/sdb/sdb2/partition", []byte("2\n"))
	file("devices/usb/sdb/sdb2/dev", []byte("8:18\n"))
	must(os.MkdirAll(filepath.Join(dir, "class/block"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, "dev/block"), 0o755))
	for name, where := range map[string]string{
		"mmcblk0": "mmc/mmcblk0", "mmcblk0p1": "mmc/mmcblk0/mmcblk0p1", "mmcblk0p2": "mmc/mmcblk0/mmcblk0p2",
		"sda": "usb/sda", "sda1": "usb/sda/sda1", "sdb": "usb/sdb", "sdb1": "usb/sdb/sdb1", "sdb2": "usb/sdb/sdb2",
		"vda": "virtio/vda", "vda1": "virtio/vda/vda1",
	} {
		must(os.Symlink("../../devices/"+where, filepath.Join(dir, "class/block", name)))
		if number, err := os.ReadFile(filepath.Join(dir, "devices", where, "dev")); err == nil {
			must(os.Symlink("../../devices/"+where, filepath.Join(dir, "dev/block", strings.TrimSpace(string(number)))))
		}
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
		{"PARTUUID=7af4b646-01", "vda1"},
		{"PARTUUID=731c1e00-01", "vda1"}, // of what is mounted already, too
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
	for root, want := range map[string]string{"179:2": "mmcblk0p1", "8:18": "sdb1", "8:1": "mmcblk0p1", "0:23": "mmcblk0p1"} {
		b.root = root
		for _, source := range []string{"PARTUUID=5a3d1c0e-01", "UUID=C0FF-EE07", "LABEL=BOOTFS"} {
			if got, err := b.find(source); err != nil || got != filepath.Join(b.dev, want) {
				t.Errorf("find(%q) beside the root %s = %q, %v; want %s", source, root, got, err, want)
			}
		}
	}
	if _, err := b.find("nfs:/x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("find(nfs:/x): %v; want an error that waiting does not cure", err)
	}
}

func TestBesideRoot(t *testing.T) {
	b := sysfs(t)
	for _, tt := range []struct {
		root string
		want []string
	}{
		{"179:2", []string{filepath.Join(b.dev, "mmcblk0p1")}}, // and not sda1, on another disk
		{"8:1", nil},
		{"8:18", []string{filepath.Join(b.dev, "sdb1")}},
		{"179:0", nil}, // no partition
		{"0:23", nil},  // no disk
		{"", nil},
	} {
		b.root = tt.root
		if got := b.beside(); !slices.Equal(got, tt.want) {
			t.Errorf("beside the root %s: %q, want %q", tt.root, got, tt.want)
		}
	}
}

// Data that a card took and forgot is missed when it was flushed.
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
	d, err := openBlockDevice(path)
	must(err)
	must(exec.Command("losetup", "--detach", path).Run()) // when it is closed
	defer d.Close()
	sector := make([]byte, mbr.SectorSize)
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
	if _, err := await(0, func() (string, error) { calls++; return "", fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) || calls == 0 {
		t.Errorf("%v after %d calls, want the last one's error", err, calls)
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
