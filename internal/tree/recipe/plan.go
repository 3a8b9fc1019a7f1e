package recipe

import (
	"errors"
	"path"
	"slices"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Files in the boot partition that the branding of a Pi leaves.
const (
	Backup    = "cmdline.old"           // what cmdline.txt was before
	ErrorFile = "clusterctrl-error.txt" // why the Pi is not the member that it was to be
)

// A Branding is the changes that give a tree a role. Both parts are empty if nothing
// has to change.
type Branding struct {
	// Changes are all changes but the last, in the order in which they are made.
	Changes edit.Plan
	// Finish is the change of cmdline.txt that ends the branding. Until it is made,
	// each boot starts the branding again: Changes have to be on the disk before.
	Finish edit.Plan
}

// Plan returns the changes that give tree the role, whatever role it had before. It
// changes nothing.
func Plan(tree rootfs.Tree, role node.Role) (Branding, error) {
	overlay := rootfs.NewOverlay(tree)
	found, err := rootfs.Identify(overlay)
	if err != nil {
		return Branding{}, err
	}
	s := System{OS: found}
	changes, err := edit.PlanOver(overlay, s.brand(role))
	if err != nil {
		return Branding{}, err
	}
	all, err := edit.PlanOver(overlay, []edit.Edit{finishBranding{s.BootDir}})
	if err != nil {
		return Branding{}, err
	}
	return Branding{changes, all[len(changes):]}, nil
}

// Plan returns all changes, that of cmdline.txt last.
func (b Branding) Plan() edit.Plan { return slices.Concat(b.Changes, b.Finish) }

// Apply makes all changes in tree. [Backup] is a courtesy: where the boot partition has no
// room for it, the branding does without.
func (b Branding) Apply(tree rootfs.Tree) error {
	for _, c := range b.Plan() {
		err := c.Apply(tree)
		if err != nil && !(path.Base(c.Name) == Backup && errors.Is(err, fat.ErrNoSpace)) {
			return err
		}
	}
	return nil
}

// Brand makes tree the member with the role.
func Brand(tree rootfs.Tree, role node.Role) error {
	b, err := Plan(tree, role)
	if err != nil {
		return err
	}
	return b.Apply(tree)
}

// brand returns the edits that make a Pi, with an image that Build made, the member with
// the role, but for [finishBranding].
func (s System) brand(role node.Role) []edit.Edit {
	return append(s.role(role),
		keepCommandLine{s.BootDir},
		edit.Remove{Name: path.Join(s.BootDir, ErrorFile)},
	)
}

// role returns the edits that make a Pi the member with the role and leave alone
// what starts the branding.
func (s System) role(role node.Role) []edit.Edit {
	edits := []edit.Edit{refuseShell{}}
	if role.IsController() {
		edits = append(edits, s.controller(role)...)
		edits = append(edits, s.noGadget()...)
	} else {
		edits = append(edits, s.node(role.ID)...)
	}
	edits = append(edits, s.identity(role)...)
	return append(edits,
		createSettings{},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "TYPE", Value: role.Type()},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "ID", Value: role.Number()},
		bootConfig(s.BootDir, role),
	)
}
