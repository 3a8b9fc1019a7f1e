package provision

import (
	"context"
	"fmt"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// brand gives each output its role now, as its first boot would.
func (f family) brand(ctx context.Context) error {
	show := f.progress.start("brand", 0)
	defer show.Close()
	for _, o := range f.outputs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := brandOutput(o); err != nil {
			return fmt.Errorf("%s: %w", o.Final, err)
		}
	}
	return nil
}

func brandOutput(o output) error {
	info, err := o.File.Stat()
	if err != nil {
		return err
	}
	return brand(o, info.Size(), o.role)
}

// brand gives an image of size bytes a role, as its first boot would. The time stamps are
// those of the other changes to the base, so that the same inputs give the same bytes.
func brand(disk rootfs.Device, size int64, role node.Role) error {
	image, err := rootfs.OpenImage(disk, size)
	if err != nil {
		return err
	}
	image.SetTime(image.Root.Time())
	if err := recipe.Brand(image, role); err != nil {
		return tooFull(err)
	}
	return image.Close()
}
