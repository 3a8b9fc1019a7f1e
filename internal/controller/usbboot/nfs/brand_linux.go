package nfs

import (
	"errors"
	"fmt"
	"path/filepath"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Brand makes the root in a node's place that node's root, whatever node's it was before.
// It runs no program of the root, which a node can write, and follows no link out of the
// root. A second Brand changes nothing.
func (r *Roots) Brand(id node.ID) error {
	there, err := r.Has(id)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%v has no root: unpack one first, by \"clusterctrl usbboot add %[1]v ARCHIVE\", from an archive that \"clusterctrl build --usbboot\" made", id)
	}
	if err := brand(filepath.Join(r.dir.Name(), id.String()), id, r.flush); err != nil {
		return fmt.Errorf("%v: %w", id, full(err))
	}
	return nil
}

// brand gives the tree in a directory the identity of a node. flush has the disk keep
// what was written.
func brand(dir string, id node.ID, flush func() error) (err error) {
	tree, err := rootfs.OpenDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if _, err := tree.Stat(node.USBRootPath[1:]); err != nil {
		return errors.New("it has no " + node.USBRootPath[1:] + ": want what \"clusterctrl build --usbboot\" made")
	}
	system, err := rootfs.Identify(tree)
	if err != nil {
		return err
	}
	plan, err := edit.NewPlan(tree, recipe.USBBoot(recipe.System{OS: system}, id))
	if err != nil {
		return err
	}
	return tree.Batch(func() error { return plan.Apply(tree) }, flush)
}
