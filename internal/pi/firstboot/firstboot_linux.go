// Package firstboot gives a Pi with an image that this program made the role that its
// card was written for. It runs once, as PID 1, in place of systemd: see [Main].
//
// The kernel starts it because of init= in cmdline.txt. The role is applied to
// the root, then to the boot partition; last of all one write of one sector
// takes init= out of cmdline.txt, and the Pi restarts. Whenever the power fails, the
// next boot either starts this program again, which does the rest of the work, or is
// the ordinary boot of a finished member.
//
// The boot partition is not mounted: FAT has no journal, and Linux may write
// its sectors in any order. Here it is edited on its device by package fat, and
// the order in which sectors get there is such that a file is the old one or
// the new one, for the firmware too. No kernel module is needed for it either.
//
// Errors are reported on the console and in [ErrorFile]. After an error, a Pi that was
// to be a node, or whose role cannot be read, becomes an unconfigured node: with its
// image unchanged, it would be a second controller. If that fails too, or if the Pi is a
// member of the cluster already, init= is taken out of cmdline.txt, and the system
// starts unchanged. Only a finished Pi restarts.
package firstboot

import (
	"fmt"
	"io/fs"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Files in the boot partition.
const (
	CommandLine = rootfs.CommandLine
	Backup      = recipe.Backup
	ErrorFile   = recipe.ErrorFile
)

// bootEntry is [rootfs.BootEntry] of a tree.
func bootEntry(tree fs.FS) (dir, source string, err error) {
	text, err := rootfs.ReadText(tree, rootfs.FSTab)
	if err != nil {
		return "", "", err
	}
	dir, source, ok := rootfs.BootEntry(string(text))
	if !ok {
		err = fmt.Errorf("%s mounts no vfat at /boot/firmware or /boot: want the boot partition's entry", rootfs.FSTab)
	}
	return dir, source, err
}

// readCommandLine returns the text of cmdline.txt in the boot partition.
func readCommandLine(boot *fat.Volume) ([]byte, error) {
	fsys, err := boot.FS()
	if err != nil {
		return nil, err
	}
	return rootfs.ReadText(fsys, CommandLine)
}
