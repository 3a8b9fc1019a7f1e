package provision

import (
	"fmt"
	"path"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// checkRoom finds out, in memory, whether an image that plan is to change has the
// room, in blocks and in inodes, that each of all makes use of at its first boot.
func checkRoom(dev rootfs.Device, size int64, plan edit.Plan, all []node.Role) error {
	for _, role := range kinds(all) {
		image, err := rootfs.OpenImage(dev, size) // never closed: nothing is written
		if err != nil {
			return err
		}
		if err := plan.Apply(image); err != nil {
			return tooFull(err)
		}
		branding, err := recipe.Plan(image, role)
		if err == nil {
			err = stage(image, branding.Plan())
		}
		if err != nil {
			return fmt.Errorf("first boot of %v: %w", role, tooFull(err))
		}
	}
	return nil
}

// kinds leaves of all nodes the last by number: they differ in their numbers alone, of
// which its is as long as any.
func kinds(all []node.Role) []node.Role {
	var kinds []node.Role
	var last node.ID
	for _, role := range all {
		if role.IsController() {
			kinds = append(kinds, role)
		}
		last = max(last, role.ID)
	}
	if last > 0 {
		kinds = append(kinds, last.Role())
	}
	return kinds
}

// stage makes the changes as first boot does, which has the new files beside the old
// ones before it gives them their names.
func stage(image *rootfs.Image, plan edit.Plan) error {
	for _, c := range plan {
		if path.Base(c.Name) == recipe.Backup {
			continue // first boot does without where there is no room
		}
		if c.Old != nil && c.New != nil && c.New.Mode.IsRegular() {
			c = rootfs.Change{Name: path.Join(path.Dir(c.Name), ".new-"+path.Base(c.Name)), New: c.New}
		}
		if err := c.Apply(image); err != nil {
			return err
		}
	}
	return nil
}
