package card

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"clusterctrl/internal/image/diskimage"
)

// file returns a plain file as a disk.
func file(path string, info fs.FileInfo) (Disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return Disk{}, err
	}
	defer f.Close()
	d := Disk{Path: path, Size: info.Size(), SectorSize: SectorSize, ReadOnly: info.Mode().Perm()&0o222 == 0, file: true}
	d.Content = content(f, d.Size, partitions(f, d.Size))
	return d, nil
}

// A fileDevice is a plain file in place of a card. It gets the same bytes as a card, but
// is written through the page cache.
type fileDevice struct {
	*os.File
	set *diskimage.Outputs // of a file that is yet to get its name; else nil
}

// openFile opens a plain file, or makes one of size bytes.
func openFile(d Disk, size int64) (Device, error) {
	if !d.fresh {
		f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
		return fileDevice{File: f}, err
	}
	set, err := diskimage.Create(filepath.Dir(d.Path), diskimage.Refuse, filepath.Base(d.Path))
	if err != nil {
		return nil, err
	}
	f := set.Files[0].File
	if err := f.Truncate(size); err != nil {
		set.Abort()
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	return fileDevice{f, set}, nil
}

func (f fileDevice) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return dropCache(f.File)
}

func (f fileDevice) Finish() error {
	if f.set == nil {
		return nil
	}
	return f.set.Commit()
}

func (f fileDevice) Discard() error { return nil }

func (f fileDevice) Gone() bool { return false }

// Close leaves no file behind that did not get its name.
func (f fileDevice) Close() error {
	if f.set == nil {
		return f.File.Close()
	}
	f.set.Abort()
	return nil
}
