// Package guest is the start and the end of a program that a test boots as
// PID 1 from a labtest.Initramfs.
package guest

import (
	"fmt"

	"clusterctrl/internal/linux/initramfs"
	"golang.org/x/sys/unix"
)

// Main runs do as PID 1, after the kernel's file systems were mounted and the
// initramfs's modules loaded. It never returns: when do does, the machine is
// switched off, after the error was shown.
func Main(do func() error) {
	err := initramfs.Start()
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
