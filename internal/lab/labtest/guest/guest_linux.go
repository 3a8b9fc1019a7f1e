// Package guest is the start and the end of a program that a test boots as
// PID 1 from a labtest.Initramfs.
package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Main runs do as PID 1, after the kernel's file systems were mounted and the
// initramfs's modules loaded. It never returns: when do does, the machine is
// switched off, after the error was shown.
func Main(do func() error) {
	err := start()
	if err == nil {
		err = do()
	}
	if err != nil {
		fmt.Printf("guest: %v\n", err)
	}
	end(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// Restart restarts the machine.
func Restart() { end(unix.LINUX_REBOOT_CMD_RESTART) }

func end(command int) {
	unix.Sync()
	if err := unix.Reboot(command); err != nil {
		fmt.Printf("guest: reboot: %v\n", err)
	}
	select {} // the kernel panics if PID 1 returns
}

func start() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("a guest runs as PID 1, not as %d", os.Getpid())
	}
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	modules, err := filepath.Glob("/modules/*")
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
