package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A Preview is what a build would do to make an image.
type Preview struct {
	Name    string // of the file
	Role    string // or "usbboot", of the files of nodes without cards
	OfBase  bool   // Changes are to the base, else to the controller's image
	Changes edit.Plan
}

// DryRun shows what Build would change in the base to make the controller's image, and in
// that image to make each other one. It writes no output.
func DryRun(ctx context.Context, o Options, show func(Preview) error) error {
	in, err := o.open()
	if err != nil {
		return err
	}
	defer in.Close()
	return withDisk(ctx, in, o.Progress, func(disk *os.File, size int64) error {
		image, err := rootfs.OpenImage(disk, size)
		if err == nil {
			err = o.show(image, guessName(o.imageName(in)), show)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.imageName(in), err)
		}
		return nil
	})
}

func (o Options) show(image *rootfs.Image, guess name, show func(Preview) error) error {
	system, plan, err := o.plan(image)
	if err != nil {
		return err
	}
	prefix := guess.corrected(system.OS, image.Root.Time()).prefix(o.Settings.Revision)
	if err := show(Preview{prefix + suffix(node.CBridge), node.CBridge.String(), true, plan}); err != nil {
		return err
	}
	if err := plan.Apply(image); err != nil { // in memory: the image is never closed
		return err
	}
	line, err := readCommandLine(image)
	if err != nil {
		return err
	}
	others := slices.Clone(o.roles(system.Flavour))
	if !o.Branded {
		others = slices.DeleteFunc(others, func(r node.Role) bool { return r == node.CBridge }) // the controller's image itself
	}
	if err := showRoles(image, line, targets(prefix, others, ""), o.Branded, show); err != nil || o.NFSRoot == "" {
		return err
	}
	if plan, err = o.archiveSource(image, system).Plan(); err != nil {
		return err
	}
	return show(Preview{prefix + o.archiveSuffix(), "usbboot", false, plan})
}

// showRoles shows what would change in a controller's image to make each of targets.
func showRoles(image *rootfs.Image, line commandLine, all []target, branded bool, show func(Preview) error) error {
	for _, t := range all {
		plan, err := roleChanges(image, line, t.role, branded)
		if err != nil {
			return err
		}
		if err := show(Preview{t.name, t.role.String(), false, plan}); err != nil {
			return err
		}
	}
	return nil
}

// roleChanges returns the changes that make a controller's image that of another role.
func roleChanges(image *rootfs.Image, line commandLine, role node.Role, branded bool) (edit.Plan, error) {
	text, err := recipe.Rebrand(line.text, role)
	if err != nil {
		return nil, err
	}
	change := rootfs.Change{Name: image.CommandLine(), Old: &rootfs.File{Data: []byte(line.text)}, New: &rootfs.File{Data: []byte(text)}}
	if !branded {
		return edit.Plan{change}, nil
	}
	tree := rootfs.NewOverlay(image)
	if err := change.Apply(tree); err != nil {
		return nil, err
	}
	if err := recipe.Brand(tree, role); err != nil {
		return nil, err
	}
	return tree.Changes()
}

// withDisk calls use with the raw image of an input.
func withDisk(ctx context.Context, in *diskimage.Input, progress Progress, use func(*os.File, int64) error) (err error) {
	disk, err := unpack(ctx, in, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	return use(disk.File, disk.size)
}
