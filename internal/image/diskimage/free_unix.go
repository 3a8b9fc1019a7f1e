//go:build unix

package diskimage

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// FreeSpace returns how many bytes this user may still write to the file system of dir.
func FreeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// allocated returns how many bytes of the disk a file of info takes.
func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		const unit = 512 // bytes, whatever the file system's blocks are (stat(2))
		return stat.Blocks * unit
	}
	return info.Size()
}
