package provision

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// MoreOptions say which images to derive from one that [Build] made.
type MoreOptions struct {
	Image    string // file name, of an image that is not compressed
	Sum      *diskimage.Sum
	Dir      string
	Roles    []node.Role
	Existing diskimage.Existing
	Sums     bool
	Branded  bool          // as in [Options]
	Format   packed.Format // as in [Options]
	Progress Progress
}

// More derives the images of other roles from one that Build made and that has not been
// booted. What a user has changed in that image since is in the others too.
func More(ctx context.Context, o MoreOptions) (Result, error) {
	c, err := o.open(ctx)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	if err := c.CheckRoom(o.Roles); err != nil {
		return Result{}, err
	}
	all := targets(c.prefix(), o.Roles, o.Format.Ext())
	set, err := diskimage.Create(o.Dir, o.Existing, fileNames(all)...)
	if err != nil {
		return Result{}, err
	}
	defer set.Abort()
	if err := spareBase(o.Image, o.Dir, set); err != nil {
		return Result{}, err
	}
	if len(set.Files) == 0 {
		return newResult(o.Dir, set, &c.OS, remarks{}, all)
	}
	outputs, err := c.line.outputs(set.Files, all)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.Image, err)
	}
	f := family{image: c.File, set: set, outputs: outputs, branded: o.Branded, progress: o.Progress}
	if o.Format != "" {
		if err := pack(ctx, o.Format, c.File, c.Size, c.line.offset, outputs, o.Progress); err != nil {
			return Result{}, err
		}
		f.image, f.ready = outputs[0].File, 1
	}
	if err := f.complete(ctx, o.Sums); err != nil {
		return Result{}, err
	}
	return newResult(o.Dir, set, &c.OS, remarks{}, all)
}

// DryRunMore shows what More would change to make each image. It writes no output.
func DryRunMore(ctx context.Context, o MoreOptions, show func(Preview) error) error {
	c, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	image, err := rootfs.OpenImage(c.File, c.Size)
	if err == nil {
		err = showRoles(image, c.line, targets(c.prefix(), o.Roles, ""), o.Branded, show)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Image, err)
	}
	return nil
}

func (o MoreOptions) open(ctx context.Context) (*Controller, error) {
	c, err := OpenController(o.Image)
	if err != nil || o.Sum == nil {
		return c, err
	}
	c.in.Expect(*o.Sum)
	if err := c.in.Check(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// BuiltRole returns the role of an image that Build made and that has not been booted. Of
// any other file, built is false; Build finds out what is wrong with it.
func BuiltRole(file string) (role node.Role, built bool) {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeDevice {
		return node.Role{}, false // a pipe can be read only once
	}
	in, err := diskimage.OpenRaw(file)
	if err != nil {
		return node.Role{}, false
	}
	defer in.Close()
	image, err := rootfs.OpenImage(in.Raw(), in.Size())
	if err != nil {
		return node.Role{}, false
	}
	role, built, err = builtRole(image)
	return role, built && err == nil
}

// builtRole returns the role that the next boot of an image gives it, if Build made the
// image. One that the older shell scripts made is a base as any other.
func builtRole(image *rootfs.Image) (role node.Role, built bool, err error) {
	words, err := commandLineWords(image)
	if err != nil {
		return node.Role{}, false, err
	}
	theirs, err := recipe.MadeByShell(image)
	role, pending := recipe.PendingRole(words)
	return role, pending && !theirs, err
}

// A Controller is the image of a controller that Build made and that has not been
// booted. The images of other roles differ from it in one sector.
type Controller struct {
	File *os.File
	Size int64 // in bytes
	OS   rootfs.OS

	// StartsFromDisk says that nodes without cards can start from the image.
	StartsFromDisk bool

	in   *diskimage.Input
	role node.Role // what its next boot makes of it: a node's image serves too
	line commandLine
}

// OpenController opens an image that is not compressed.
func OpenController(name string) (*Controller, error) {
	in, err := diskimage.OpenRaw(name)
	if err != nil {
		return nil, err
	}
	c := &Controller{File: in.Raw(), Size: in.Size(), in: in}
	if err := c.inspect(); err != nil {
		in.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// inspect finds out what the image holds.
func (c *Controller) inspect() error {
	image, err := rootfs.OpenImage(c.File, c.Size)
	if err != nil {
		return err
	}
	if c.OS, err = rootfs.Identify(image); err != nil {
		return err
	}
	if c.line, err = readCommandLine(image); err != nil {
		return err
	}
	if _, err := c.line.patch(node.CBridge); err != nil { // which only an image of ours takes
		return err
	}
	words, err := commandLineWords(image)
	if err != nil {
		return err
	}
	c.role, _ = recipe.PendingRole(words)
	c.StartsFromDisk = recipe.HasDiskStart(image, c.OS.BootDir)
	return nil
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
func (c *Controller) ImageName(role node.Role) string { return c.prefix() + suffix(role) }

// prefix is what the names of the other roles' files start with: this file's name without
// the part for its role.
func (c *Controller) prefix() string {
	base := filepath.Base(c.File.Name())
	if name, ends := strings.CutSuffix(base, "-"+suffix(c.role)); ends {
		return name + "-"
	}
	return strings.TrimSuffix(base, ".img") + "-"
}
