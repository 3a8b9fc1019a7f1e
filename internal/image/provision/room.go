package provision

import (
	"fmt"
	"path"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// checkRoom finds out, in memory, whether an image has enough room, in blocks and in
// inodes, for the changes of plan and then for the first boot of each of all.
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

// kinds returns the controllers, and of all nodes only the one with the highest number:
// nodes differ in their numbers alone, and no number is longer than that one.
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
