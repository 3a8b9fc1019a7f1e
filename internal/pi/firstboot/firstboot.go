// Package firstboot turns a Pi with an image of ours into the member of the
// cluster that its card was written for. It runs once, as PID 1, in place of
// systemd: see [Main].
//
// The kernel starts it because of init= in cmdline.txt. The role is applied to
// the root, then to the boot partition; last of all one write of one sector
// takes init= out of cmdline.txt, and the Pi restarts. Whatever the moment at
// which the power fails, the next boot either starts this again, and it does
// what is left to do, or is the ordinary boot of a finished member.
//
// The boot partition is not mounted: FAT has no journal, and Linux may write
// its sectors in any order. Here it is edited on its device by package fat, and
// the order in which sectors get there is such that a file is the old one or
// the new one, for the firmware too. No kernel module is needed for it either.
//
// What goes wrong is said on the console and in [ErrorFile]. A Pi that was to be a
// node, or nobody knows what, becomes a node that nobody has configured yet: the
// image as it is would be a second controller. If that fails too, and on what is a
// member of the cluster already, init= is taken out of cmdline.txt, and the system
// starts as it is. Nothing restarts but what has been finished.
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

// readBoot returns the text of a file of the boot partition.
func readBoot(boot *fat.Volume, name string) ([]byte, error) {
	fsys, err := boot.FS()
	if err != nil {
		return nil, err
	}
	return rootfs.ReadText(fsys, name)
}
