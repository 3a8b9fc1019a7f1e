package provision

import (
	"context"
	"fmt"
	"os"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// NodeOptions say which images to derive from that of a controller.
type NodeOptions struct {
	Controller string // file name of the image, uncompressed
	Dir        string
	Roles      []node.Role
	Existing   diskimage.Existing
	Sums       bool
	Branded    bool // as in [Options]
	Progress   Progress
}

// Nodes derives the images of other roles from one that Build made and that has
// not been booted. What a user changed in it since, the others get too.
func Nodes(ctx context.Context, o NodeOptions) (Result, error) {
	in, err := diskimage.OpenRaw(o.Controller)
	if err != nil {
		return Result{}, err
	}
	defer in.Close()
	line, system, err := inspectController(in.Raw(), in.Size())
	if err == nil {
		err = checkRoom(in.Raw(), in.Size(), nil, o.Roles)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.Controller, err)
	}
	set, err := diskimage.Create(o.Dir, o.Existing, withRoles(o.Controller, o.Roles)...)
	if err != nil {
		return Result{}, err
	}
	defer set.Abort()
	result := Result{OS: system, Kept: set.Kept}
	if len(set.Files) == 0 {
		return result, nil
	}
	patches, err := line.patches(set.Files)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.Controller, err)
	}
	for _, f := range set.Files {
		result.Files = append(result.Files, f.Final)
	}
	return result, family{in.Raw(), set, 0, patches, o.Branded, o.Progress}.complete(ctx, o.Sums)
}

func inspectController(disk *os.File, size int64) (commandLine, rootfs.OS, error) {
	image, err := rootfs.OpenImage(disk, size)
	if err != nil {
		return commandLine{}, rootfs.OS{}, err
	}
	system, err := rootfs.Identify(image)
	if err != nil {
		return commandLine{}, rootfs.OS{}, err
	}
	line, err := readCommandLine(image)
	return line, system, err
}
