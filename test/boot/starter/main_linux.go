// Starter is the /init of an initramfs that does what those of Raspberry Pi OS
// end with: it mounts the root, read-only, and starts what init= says there, with
// the kernel's own arguments. The root's device is what starter.root= says.
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/guest"
)

func main() {
	guest.Main(func() error {
		line, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return err
		}
		device, program := "", "/sbin/init"
		for _, word := range strings.Fields(string(line)) {
			if value, ok := strings.CutPrefix(word, "starter.root="); ok {
				device = value
			}
			if value, ok := strings.CutPrefix(word, "init="); ok {
				program = value
			}
		}
		if err := guest.Await(device); err != nil {
			return err
		}
		if err := unix.Mount(device, "/mnt", "ext4", unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mount %s: %w", device, err)
		}
		fmt.Printf("starter: %s %q\n", program, os.Args[1:])
		return start(program)
	})
}

// start makes /mnt the root and becomes the program there.
func start(program string) error {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, "/mnt"+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := os.Chdir("/mnt"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	err := unix.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("start %s: %w", program, err)
}
