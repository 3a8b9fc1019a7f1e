package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/linux/uevent"
	"golang.org/x/sys/unix"
)

// blockDevices are the disks and partitions that the kernel knows, in sysfs and
// in devtmpfs. No udev has made links to them yet.
type blockDevices struct {
	sys, dev string
	root     string // the numbers of the partition with /, as in "179:2"
}

// A blockDevice reads written data back after each flush: a worn-out card may accept
// data and lose it, which Linux would not notice.
type blockDevice struct {
	*os.File
	pages map[int64]bool // where it was written to since the last flush
}

// openBlockDevice opens a device for itself alone: Linux would overwrite one that is
// mounted.
func openBlockDevice(path string) (*blockDevice, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	// Read-ahead is of no use here.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "fadvise", Path: path, Err: err}
	}
	return &blockDevice{f, map[int64]bool{}}, nil
}

func (d *blockDevice) WriteAt(p []byte, off int64) (int, error) {
	size := int64(os.Getpagesize())
	for page := off / size; page*size < off+int64(len(p)); page++ {
		d.pages[page] = true
	}
	return d.File.WriteAt(p, off)
}

func (d *blockDevice) Sync() error {
	if err := d.File.Sync(); err != nil {
		return err
	}
	size := int64(os.Getpagesize())
	for page := range d.pages {
		if err := unix.Fadvise(int(d.Fd()), page*size, size, unix.FADV_DONTNEED); err != nil {
			return &os.PathError{Op: "fadvise", Path: d.Name(), Err: err}
		}
	}
	clear(d.pages)
	return nil
}

// find returns the path of the device that fstab(5) calls source. The error
// matches [fs.ErrNotExist] if there is none (yet).
func (b blockDevices) find(source string) (string, error) {
	for _, kind := range []struct {
		tag, links string
		is         func(name, value string) bool
	}{
		{"PARTUUID=", "/dev/disk/by-partuuid/", b.hasPARTUUID},
		{"UUID=", "/dev/disk/by-uuid/", b.hasUUID},
		{"LABEL=", "/dev/disk/by-label/", b.hasLabel},
	} {
		value, tagged := strings.CutPrefix(source, kind.tag)
		if !tagged {
			value, tagged = strings.CutPrefix(source, kind.links)
		}
		if tagged {
			return b.search(source, func(name string) bool { return kind.is(name, strings.Trim(value, `"`)) })
		}
	}
	name, ok := strings.CutPrefix(source, "/dev/")
	if !ok {
		return "", fmt.Errorf("device %q: want PARTUUID=, UUID=, LABEL= or a name in /dev", source)
	}
	path := filepath.Join(b.dev, name)
	_, err := os.Stat(path)
	return path, err
}

// search returns the first partition for which is returns true. Partitions of the disk
// with the root come first: a copy of the card, in a reader, has the same names.
func (b blockDevices) search(source string, is func(name string) bool) (string, error) {
	for _, disk := range []string{b.rootDisk(), ""} {
		for _, name := range b.partitions(disk) {
			if is(name) {
				return b.node(name), nil
			}
		}
	}
	return "", fmt.Errorf("no partition with %s: %w", source, fs.ErrNotExist)
}

// beside returns the paths of the other partitions of the disk with the root.
func (b blockDevices) beside() []string {
	var paths []string
	for _, name := range b.partitions(b.rootDisk()) {
		if number, err := os.ReadFile(b.class(name, "dev")); err == nil && strings.TrimSpace(string(number)) != b.root {
			paths = append(paths, b.node(name))
		}
	}
	return paths
}

// rootDisk returns the name of the disk with the root. For a root that is on no
// partition, the name is that of no disk, but not empty.
func (b blockDevices) rootDisk() string { return diskOf(filepath.Join(b.sys, "dev/block", b.root)) }

// diskOf returns the name of the disk with the partition that a link of sysfs
// leads to: sysfs has a partition inside its disk.
func diskOf(link string) string {
	where, _ := os.Readlink(link)
	return filepath.Base(filepath.Dir(where))
}

// partitions returns the names of the partitions of a disk, or of all.
func (b blockDevices) partitions(disk string) []string {
	var names []string
	entries, _ := os.ReadDir(b.class(disk)) // what is not there has none
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), disk) {
			continue
		}
		if _, err := os.Stat(b.class(e.Name(), "partition")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names
}

func (b blockDevices) class(names ...string) string {
	return filepath.Join(b.sys, "class/block", filepath.Join(names...))
}

// node is the device's file: sysfs has "!" for "/" (cciss!c0d0p1).
func (b blockDevices) node(name string) string {
	return filepath.Join(b.dev, strings.ReplaceAll(name, "!", "/"))
}

// hasPARTUUID asks the disk's partition table, which the kernel may have read
// before it was changed: the vendor's initramfs gives the disk a new id without having
// the kernel read it again. Other kinds of tables are left to the kernel; new kernels
// say in uevent what they found.
func (b blockDevices) hasPARTUUID(name, value string) bool {
	if id, err := b.partUUID(name); err == nil && strings.EqualFold(id, value) {
		return true
	}
	uevent, _ := os.ReadFile(b.class(name, "uevent"))
	for line := range strings.Lines(string(uevent)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "PARTUUID="); ok {
			return strings.EqualFold(id, value)
		}
	}
	return false
}

func (b blockDevices) partUUID(name string) (string, error) {
	text, err := os.ReadFile(b.class(name, "partition"))
	if err != nil {
		return "", err
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", err
	}
	disk, err := os.Open(b.node(diskOf(b.class(name))))
	if err != nil {
		return "", err
	}
	defer disk.Close()
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	table, err := mbr.Read(disk, size)
	return table.PARTUUID(number), err
}

// hasUUID compares the volume id of a FAT file system, as blkid(8) writes it.
func (b blockDevices) hasUUID(name, value string) bool {
	id, _, err := b.volume(name)
	return err == nil && strings.EqualFold(fmt.Sprintf("%04X-%04X", id>>16, id&0xffff), value)
}

func (b blockDevices) hasLabel(name, value string) bool {
	_, label, err := b.volume(name)
	return err == nil && label == value
}

func (b blockDevices) volume(name string) (id uint32, label string, err error) {
	f, err := os.Open(b.node(name))
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	return fat.ReadName(f)
}

// await calls find until what it looks for exists, again each time that the
// kernel announces a device, and at the latest when the time is up.
func await(timeout time.Duration, find func() (string, error)) (path string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// However the wait ends, the error of the last look says more.
	_ = uevent.Wait(ctx, func() (bool, error) {
		path, err = find()
		return !errors.Is(err, fs.ErrNotExist), nil
	})
	return path, err
}
