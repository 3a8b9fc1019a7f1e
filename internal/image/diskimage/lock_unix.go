//go:build unix

package diskimage

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks an open file until it is closed, and reports whether it could:
// not if another open file has the lock, nor on file systems without locks.
func tryLock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// LockDir waits until no other run creates or names files in dir. File systems
// without locks go without.
func LockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, withoutPath(err)
	}
	_ = unix.Flock(int(d.Fd()), unix.LOCK_EX)
	return func() { d.Close() }, nil
}

// syncDir flushes the names in dir to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func allowHoles(*os.File) {} // always allowed
