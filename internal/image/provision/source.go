package provision

import (
	"context"
	"errors"
	"fmt"
	"os"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A Source is what cards are written from: an image as it is, or images of a
// cluster that have no files of their own. Those are the base, what makes it a
// controller's, which is kept in memory, and what makes that another role's.
//
// A base that is packed is unpacked into a temporary file first, so that it is
// known to be whole, and what can be built of it, before any card is touched. Changing
// the base while it is unpacked would take a second pass over it, since edits read
// files all over an image.
type Source struct {
	o    Options
	name string
	in   *diskimage.Input
	base unpacked

	plain      *diskimage.Layer // the image as it is
	controller *diskimage.Layer // nil until a role is asked for
	line       commandLine

	// What the first role that was asked for brought to light.
	Made    bool // the image was made by [Build] already: of o's settings, none counts
	remarks      // on the images
}

// OpenSource opens the base of o, as [Build] does. Of o's other fields those count
// that say what an image is to hold.
func OpenSource(ctx context.Context, o Options) (*Source, error) {
	in, err := o.open()
	if err != nil {
		return nil, err
	}
	s := &Source{o: o, name: o.imageName(in), in: in}
	if s.base, err = unpack(ctx, in, o.Progress); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	if s.base.size == 0 || s.base.size%recipe.SectorSize != 0 {
		return nil, errors.Join(fmt.Errorf("%s: image of %d bytes; want whole sectors of %d: it may be cut short", s.name, s.base.size, recipe.SectorSize), s.Close())
	}
	s.plain = diskimage.NewLayer(s.base, s.base.size)
	return s, nil
}

// Close closes the base.
func (s *Source) Close() error { return errors.Join(s.base.Close(), s.in.Close()) }

// Base returns the user's own file if that is the raw base, else nil.
func (s *Source) Base() *os.File { return s.in.Raw() }

// Plain returns the image as it is. It must not be written to.
func (s *Source) Plain() *diskimage.Layer { return s.plain }

// Role returns the image of a role: of a base, or of the siblings of an image that
// this program made.
func (s *Source) Role(ctx context.Context, role node.Role) (*diskimage.Layer, error) {
	image, err := s.role(ctx, role)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return image, nil
}

// Common returns the image that those of all roles derive from.
func (s *Source) Common(ctx context.Context) (*diskimage.Layer, error) {
	if err := s.makeController(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return s.controller, nil
}

func (s *Source) role(ctx context.Context, role node.Role) (*diskimage.Layer, error) {
	if err := s.makeController(ctx); err != nil {
		return nil, err
	}
	patch, err := s.line.patch(role)
	if err != nil {
		return nil, err
	}
	image, err := patch.On(s.controller)
	if err == nil && s.o.Branded {
		err = brand(image, image.Size(), role)
	}
	return image, err
}

// makeController finds or makes the image that those of all roles derive from, once.
func (s *Source) makeController(ctx context.Context) error {
	if s.controller != nil {
		return nil
	}
	image, err := rootfs.OpenImage(s.plain, s.plain.Size())
	if err != nil {
		return err
	}
	_, built, err := builtRole(image)
	if err != nil {
		return err
	}
	theirs, err := recipe.MadeByShell(image)
	switch {
	case err != nil:
		return err
	case built:
		s.controller, s.Made = s.plain, true
		s.line, err = readCommandLine(image)
		return err
	case isBranded(image) && !theirs:
		return errors.New("it was branded or booted and has a role already: want it written without one, or a base")
	}
	return s.build(ctx)
}

// isBranded reports whether an image that starts no branding has this program in it.
func isBranded(image *rootfs.Image) bool {
	_, err := image.Stat(node.ReconfigPath[1:])
	return err == nil
}

// build makes the controller's image.
func (s *Source) build(ctx context.Context) error {
	below, err := s.grown(ctx)
	if err != nil {
		return err
	}
	layer := diskimage.NewLayer(below, below.Size())
	image, err := rootfs.OpenImage(layer, layer.Size())
	if err != nil {
		return err
	}
	system, plan, err := s.o.plan(image)
	if err != nil {
		return err
	}
	if err := checkRoom(layer, layer.Size(), plan, roles(true, int(node.MaxID))); err != nil {
		return err
	}
	if err := plan.Apply(image); err != nil {
		return tooFull(err)
	}
	if s.line, err = readCommandLine(image); err != nil {
		return err
	}
	s.remarks = remarksOn(image, system)
	if err := image.Close(); err != nil {
		return err
	}
	s.controller = layer
	return nil
}

// grown returns the base with more room in its root, where that is wanted. It
// changes a file, which must not be the user's.
func (s *Source) grown(ctx context.Context) (*diskimage.Layer, error) {
	if !s.o.Settings.Grows() {
		return s.plain, nil
	}
	if !s.base.temporary {
		if err := s.copyBase(ctx); err != nil {
			return nil, err
		}
	}
	s.o.Dir = largeTemp()
	size, err := s.o.grow(ctx, s.base.File, s.base.size)
	return diskimage.NewLayer(s.base, size), err
}

// copyBase makes the base a temporary file.
func (s *Source) copyBase(ctx context.Context) error {
	disk, err := createUnpacked()
	if err != nil {
		return err
	}
	disk.size = s.base.size
	show := s.o.Progress.start("copy", disk.size)
	defer show.Close()
	if err := diskimage.CopyRange(ctx, disk.File, 0, s.base.File, 0, disk.size); err != nil {
		return errors.Join(err, disk.Close())
	}
	s.base = disk
	return nil
}
