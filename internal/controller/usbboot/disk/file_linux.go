package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file is a file of changes on the controller's card.
type file struct{ *os.File }

// Sync flushes a file's data without the file's times, which no program reads.
func (f file) Sync() error {
	return f.call("sync", func() error { return unix.Fdatasync(int(f.Fd())) })
}

func (f file) Punch(offset, length int64) error {
	return f.call("punch", func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	})
}

// call makes a system call, again where a signal of Go's own has ended it.
func (f file) call(op string, do func() error) error {
	for {
		err := do()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &fs.PathError{Op: op, Path: f.Name(), Err: err}
		}
	}
}

// tryLock keeps other programs from locking a file or directory, until the file is closed.
// It fails with [errLocked] where another program has locked it.
func tryLock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// space is how many bytes a file takes.
func space(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// stamp differs after each change of a file. It has the file's ctime, which the kernel sets
// and no program can.
func stamp(info fs.FileInfo) string {
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("inode %d, %d bytes, ctime %d.%09d\n", stat.Ino, stat.Size, stat.Ctim.Sec, stat.Ctim.Nsec)
}
