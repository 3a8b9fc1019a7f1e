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
	c, err := OpenController(o.Controller)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	if err := c.CheckRoom(o.Roles); err != nil {
		return Result{}, err
	}
	set, err := diskimage.Create(o.Dir, o.Existing, withRoles(o.Controller, o.Roles)...)
	if err != nil {
		return Result{}, err
	}
	defer set.Abort()
	result := Result{OS: c.OS, Kept: set.Kept}
	if len(set.Files) == 0 {
		return result, nil
	}
	patches, err := c.line.patches(set.Files)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.Controller, err)
	}
	for _, f := range set.Files {
		result.Files = append(result.Files, f.Final)
	}
	return result, family{c.File, set, 0, patches, o.Branded, o.Progress}.complete(ctx, o.Sums)
}

// A Controller is the image of a controller that Build made and that has not been
// booted. The images of other roles differ from it in one sector.
type Controller struct {
	File *os.File
	Size int64 // in bytes
	OS   rootfs.OS

	in   *diskimage.Input
	line commandLine
}

// OpenController opens an image that is not compressed.
func OpenController(name string) (*Controller, error) {
	in, err := diskimage.OpenRaw(name)
	if err != nil {
		return nil, err
	}
	c := &Controller{File: in.Raw(), Size: in.Size(), in: in}
	c.line, c.OS, err = inspectController(c.File, c.Size)
	if err == nil {
		_, err = c.line.patch(node.CBridge) // which only an image of ours takes
	}
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Close closes the file.
func (c *Controller) Close() error { return c.in.Close() }

// CheckRoom reports an image whose file systems have too little room for the first
// boot of any of roles.
func (c *Controller) CheckRoom(roles []node.Role) error {
	if err := checkRoom(c.File, c.Size, nil, roles); err != nil {
		return fmt.Errorf("%s: %w", c.File.Name(), err)
	}
	return nil
}

// Patch returns what makes the image one of a role.
func (c *Controller) Patch(role node.Role) (diskimage.Patch, error) { return c.line.patch(role) }

// ImageName returns the name that the file of another role has beside this one.
func (c *Controller) ImageName(role node.Role) string {
	return withRoles(c.File.Name(), []node.Role{role})[0]
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
