package initramfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SwitchRoot makes a mounted file system the root, with the kernel's file systems
// in it, and becomes the program init with further arguments. The initramfs gives
// back its memory. SwitchRoot returns only if something went wrong.
func SwitchRoot(newRoot, init string, args []string) error {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll("/"+moduleDir), os.Remove("/init")); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", init, unix.Exec(init, append([]string{init}, args...), os.Environ()))
}
