package diskimage

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// FreeSpace returns how many bytes this user may still write to the file system of dir.
func FreeSpace(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return int64(free), err
}

// allocated returns how many bytes of the disk a file of info takes, as far as its size
// tells.
func allocated(info fs.FileInfo) int64 { return info.Size() }
