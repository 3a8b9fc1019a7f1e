package card

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Find returns the disk at a path. Only if files are wanted, a plain file counts as a
// disk; such a file may be yet to be made.
func Find(path string, files bool) (Disk, error) {
	if !files && errSystem != nil {
		return Disk{}, errSystem
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && files:
		return Disk{Path: path, SectorSize: SectorSize, Content: "to be made", file: true, fresh: true}, nil
	case err != nil:
		return Disk{}, err
	case info.IsDir():
		return Disk{}, fmt.Errorf("%s: is a directory: want a card, such as /dev/sdb", path)
	case info.Mode().IsRegular() && files:
		return file(path, info)
	case info.Mode().IsRegular():
		return Disk{}, fmt.Errorf("%s: is a file: want a card, such as /dev/sdb, or --file", path)
	case !isDisk(info):
		return Disk{}, fmt.Errorf("%s: is no disk: want a card, such as /dev/sdb", path)
	}
	return findDisk(path, info)
}

// Same reports whether two disks are the same disk.
func Same(a, b Disk) bool {
	if a.fresh || b.fresh {
		return filepath.Clean(a.Path) == filepath.Clean(b.Path)
	}
	first, err := os.Stat(a.Path)
	if err != nil {
		return false
	}
	second, err := os.Stat(b.Path)
	return err == nil && os.SameFile(first, second)
}

// Holds reports whether an open file lies at the path of a disk.
func (d Disk) Holds(f *os.File) bool {
	if f == nil {
		return false
	}
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(d.Path)
	return err == nil && os.SameFile(ours, there)
}
