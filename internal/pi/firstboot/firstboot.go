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
//
// [Plan] and [Brand] do the same to any tree, such as a root that a controller
// exports or the running system.
package firstboot

import (
	"fmt"
	"io/fs"
	"path"
	"slices"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Files in the boot partition.
const (
	CommandLine = "cmdline.txt"
	Backup      = "cmdline.old"           // what CommandLine was before
	ErrorFile   = "clusterctrl-error.txt" // why a Pi is not what it was to be
)

// Plan returns what has to change in tree to make it the member with the role.
// It is empty if nothing has. The change of [CommandLine] comes last: until it
// is made, the Pi starts over.
func Plan(tree rootfs.Tree, role node.Role) (edit.Plan, error) {
	overlay := rootfs.NewOverlay(tree)
	found, err := rootfs.Identify(overlay)
	if err != nil {
		return nil, err
	}
	edits := recipe.Brand(recipe.System{OS: found}, role)
	last := len(edits) - 1
	return edit.PlanOver(overlay, slices.Insert(edits, last, edit.Edit(keepCommandLine{found.BootDir}),
		edit.Edit(edit.Remove{Name: path.Join(found.BootDir, ErrorFile)})))
}

// Brand makes tree the member with the role.
func Brand(tree rootfs.Tree, role node.Role) error {
	plan, err := Plan(tree, role)
	if err != nil {
		return err
	}
	return plan.Apply(tree)
}

// keepCommandLine copies a command line that starts the branding to [Backup].
type keepCommandLine struct{ bootDir string }

func (k keepCommandLine) String() string { return "keep the command line as " + Backup }

func (k keepCommandLine) Apply(tree rootfs.Tree) error {
	name := path.Join(k.bootDir, CommandLine)
	text, err := rootfs.ReadText(tree, name)
	if err != nil {
		return err
	}
	if !asksForBranding(string(text)) {
		return nil
	}
	return edit.WriteFile{Name: path.Join(k.bootDir, Backup), Data: string(text)}.Apply(tree)
}

// bootEntry is [rootfs.BootEntry] of a tree.
func bootEntry(tree fs.FS) (dir, source string, err error) {
	const table = "etc/fstab"
	text, err := rootfs.ReadText(tree, table)
	if err != nil {
		return "", "", err
	}
	dir, source, ok := rootfs.BootEntry(string(text))
	if !ok {
		err = fmt.Errorf("%s mounts no vfat at /boot/firmware or /boot: want the boot partition's entry", table)
	}
	return dir, source, err
}
