package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
)

// Image is the Tree in a disk image as Raspberry Pi OS lays it out: a FAT boot
// partition, then an ext4 root. Changes are kept in memory until Close, which
// writes the root first and the boot partition, which starts everything, last.
// An Image that is never closed leaves the disk as it was.
type Image struct {
	Table mbr.Table
	Boot  *fat.FS
	Root  *ext4.FS

	bootDir string
}

// A Device is a disk image.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// section is a partition of a disk.
type section struct {
	Device
	start int64
}

func (s section) ReadAt(p []byte, off int64) (int, error)  { return s.Device.ReadAt(p, s.start+off) }
func (s section) WriteAt(p []byte, off int64) (int, error) { return s.Device.WriteAt(p, s.start+off) }

const (
	bootPartition = 0 // index in the table
	rootPartition = 1
)

// Partition types of the table in the first sector.
const (
	typeFAT16 = 0x0e
	typeFAT32 = 0x0c
	typeCHS32 = 0x0b
	typeLinux = 0x83
)

// OpenImage opens the tree in a disk image of size bytes. It writes nothing.
func OpenImage(dev Device, size int64) (*Image, error) {
	table, err := mbr.Read(dev, size)
	if err != nil {
		return nil, err
	}
	boot, root := table.Partitions[bootPartition], table.Partitions[rootPartition]
	switch boot.Type {
	case typeFAT16, typeFAT32, typeCHS32:
	default:
		return nil, fmt.Errorf("partition 1 has type %#02x: want a FAT boot partition, %#02x", boot.Type, typeFAT32)
	}
	if root.Type != typeLinux {
		return nil, fmt.Errorf("partition 2 has type %#02x: want an ext4 root partition, %#02x", root.Type, typeLinux)
	}
	i := &Image{Table: table}
	if i.Boot, err = fat.Open(section{dev, boot.Start}, boot.Size); err != nil {
		return nil, fmt.Errorf("boot partition: %w", err)
	}
	if i.Root, err = ext4.Open(section{dev, root.Start}, root.Size); err != nil {
		return nil, fmt.Errorf("root partition: %w", err)
	}
	if i.bootDir, err = BootDir(i.Root); err != nil {
		return nil, err
	}
	return i, nil
}

// SetTime sets the time that is stamped on everything changed from now on.
func (i *Image) SetTime(t time.Time) {
	i.Root.SetTime(t)
	i.Boot.SetTime(t)
}

// Close writes the changes.
func (i *Image) Close() error {
	if err := i.Root.Close(); err != nil {
		return fmt.Errorf("root partition: %w", err)
	}
	if err := i.Boot.Close(); err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	return nil
}

// BootExtents returns where on the disk the content of a file of the boot
// partition is, which name leads to.
func (i *Image) BootExtents(name string) ([]fat.Extent, error) {
	name, err := i.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	rest, ok := i.inBoot(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not in the boot partition")}
	}
	extents, err := i.Boot.Extents(rest)
	for k := range extents {
		extents[k].Offset += i.Table.Partitions[bootPartition].Start
	}
	return extents, err
}

// inBoot returns the name that the boot partition has for what the tree calls
// name.
func (i *Image) inBoot(name string) (string, bool) {
	if name == i.bootDir {
		return ".", true
	}
	return strings.CutPrefix(name, i.bootDir+"/")
}

// A filesystem is what the two partitions have in common.
type filesystem interface {
	fs.FS
	Lstat(name string) (fs.FileInfo, error)
	WriteFile(name string, data []byte, perm fs.FileMode) error
	Mkdir(name string, perm fs.FileMode) error
	Remove(name string) error
}

// on returns the file system that holds name, which leads through no link, and the
// name in that file system.
func (i *Image) on(name string) (filesystem, string) {
	if rest, ok := i.inBoot(name); ok {
		return i.Boot, rest
	}
	return i.Root, name
}

// unresolved is the image as [resolve] needs it.
type unresolved struct{ *Image }

func (u unresolved) Lstat(name string) (fs.FileInfo, error) {
	fsys, rest := u.on(name)
	return fsys.Lstat(rest)
}

func (u unresolved) ReadLink(name string) (string, error) { return u.Root.ReadLink(name) }

func (i *Image) resolve(op, name string, follow bool) (string, error) {
	return resolve(unresolved{i}, op, name, follow)
}

// locate resolves name and returns the file system that holds it.
func (i *Image) locate(op, name string, follow bool) (filesystem, string, error) {
	name, err := i.resolve(op, name, follow)
	if err != nil {
		return nil, "", err
	}
	fsys, rest := i.on(name)
	return fsys, rest, nil
}

func (i *Image) Open(name string) (fs.File, error) {
	fsys, rest, err := i.locate("open", name, true)
	if err != nil {
		return nil, err
	}
	return fsys.Open(rest)
}

func (i *Image) Lstat(name string) (fs.FileInfo, error) {
	fsys, rest, err := i.locate("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return fsys.Lstat(rest)
}

func (i *Image) Stat(name string) (fs.FileInfo, error) {
	fsys, rest, err := i.locate("stat", name, true)
	if err != nil {
		return nil, err
	}
	return fsys.Lstat(rest)
}

func (i *Image) ReadLink(name string) (string, error) {
	name, err := i.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	if rest, ok := i.inBoot(name); ok {
		if _, err := i.Boot.Lstat(rest); err != nil {
			return "", err
		}
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return i.Root.ReadLink(name)
}

func (i *Image) WriteFile(name string, data []byte, perm fs.FileMode) error {
	fsys, rest, err := i.locate("write", name, true)
	if err != nil {
		return err
	}
	return fsys.WriteFile(rest, data, perm)
}

func (i *Image) Mkdir(name string, perm fs.FileMode) error {
	fsys, rest, err := i.locate("mkdir", name, false)
	if err != nil {
		return err
	}
	return fsys.Mkdir(rest, perm)
}

func (i *Image) Remove(name string) error {
	fsys, rest, err := i.locate("remove", name, false)
	if err != nil {
		return err
	}
	return fsys.Remove(rest)
}

func (i *Image) Symlink(target, name string) error {
	name, err := i.resolve("symlink", name, false)
	if err != nil {
		return err
	}
	if _, ok := i.inBoot(name); ok {
		return &fs.PathError{Op: "symlink", Path: name, Err: errors.ErrUnsupported}
	}
	return i.Root.Symlink(target, name)
}

func (i *Image) Chmod(name string, perm fs.FileMode) error {
	name, err := i.resolve("chmod", name, true)
	if err != nil {
		return err
	}
	if rest, ok := i.inBoot(name); ok {
		_, err := i.Boot.Lstat(rest)
		return err
	}
	return i.Root.Chmod(name, perm)
}

// BootDir is the name of the directory that the boot partition is mounted at.
func (i *Image) BootDir() string { return i.bootDir }

// CommandLine is the name of the kernel command line in the image.
func (i *Image) CommandLine() string { return path.Join(i.bootDir, CommandLine) }
