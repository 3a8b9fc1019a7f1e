package diskimage

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock always fails: what a killed run leaves behind stays on Windows.
func tryLock(*os.File) bool { return false }

// LockDir does not wait: Windows has no locks of directories.
func LockDir(string) (unlock func(), err error) { return func() {}, nil }

// syncDir does nothing: NTFS keeps names in its journal.
func syncDir(string) error { return nil }

// allowHoles asks for a sparse file. FAT has none: there it becomes a full one.
func allowHoles(f *os.File) {
	var n uint32
	_ = windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
}
