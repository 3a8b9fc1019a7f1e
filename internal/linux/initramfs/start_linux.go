package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Start mounts the kernel's file systems and loads the archive's modules. It is
// for PID 1 in an initramfs.
func Start() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("an initramfs is started as PID 1, not as %d", os.Getpid())
	}
	return Enter()
}

// Enter mounts the kernel's file systems and loads the archive's modules, in the root of
// the process that calls it.
func Enter() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	modules, err := filepath.Glob("/" + moduleDir + "/*")
	if err != nil {
		return err
	}
	for _, name := range modules { // sorted, in their order
		if err := load(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func load(module string) error {
	f, err := os.Open(module)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EEXIST) {
		return nil // a driver for hardware that is not there; modprobe thinks so too
	}
	return err
}
