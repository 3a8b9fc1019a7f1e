package provision

import (
	"context"
	"io"
	"os"

	"clusterctrl/internal/image/diskimage"
	"golang.org/x/sync/errgroup"
)

// A family is a set of outputs that are copies of one image. They differ in one sector,
// which tells the role; if they are branded, they have been given their roles and differ
// in more.
type family struct {
	image    *os.File // one of them, or what they derive from
	set      *diskimage.Outputs
	outputs  []output // the files of the set
	ready    int      // so many of them hold the image already
	branded  bool
	progress Progress
}

// complete makes each output the image of its role and names all. If sums are
// wanted, it makes them meanwhile, since that takes as long as the disk does.
func (f family) complete(ctx context.Context, sums bool) error {
	// Of the image, everything but the patches is read for the sums, and
	// patching may change more than a sector for a moment.
	if err := f.patch(f.outputs[:f.ready]); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if f.branded {
		g.SetLimit(1) // one after the other: the sums are of what branding makes
	}
	g.Go(func() error { return f.derive(ctx) })
	if sums && len(f.outputs) > 0 {
		g.Go(func() error { return f.sum(ctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.set.Commit()
}

// derive makes the other outputs and waits until the disk has all.
func (f family) derive(ctx context.Context) error {
	if err := f.clone(ctx); err != nil {
		return err
	}
	if err := f.patch(f.outputs[f.ready:]); err != nil {
		return err
	}
	if f.branded {
		if err := f.brand(ctx); err != nil {
			return err
		}
	}
	show := f.progress.start("write", 0)
	defer show.Close()
	return f.set.Flush()
}

// clone makes clones of the image in the outputs that do not hold it yet.
func (f family) clone(ctx context.Context) error {
	rest := f.outputs[f.ready:]
	if len(rest) == 0 {
		return nil
	}
	show, err := f.start("copy", len(rest))
	if err != nil {
		return err
	}
	defer show.Close()
	for _, o := range rest {
		if err := o.Clone(ctx, f.image, show); err != nil {
			return err
		}
	}
	return nil
}

// patch turns outputs that hold the image into the images of their roles.
func (family) patch(outputs []output) error {
	for _, o := range outputs {
		if err := o.patch.Apply(o.File); err != nil {
			return err
		}
	}
	return nil
}

func (f family) sum(ctx context.Context) error {
	show, err := f.start("checksums", len(f.outputs))
	if err != nil {
		return err
	}
	defer show.Close()
	all, err := f.sums(ctx, show)
	if err != nil {
		return err
	}
	for i, o := range f.outputs {
		f.set.SetSum(o.Final, all[i])
	}
	return nil
}

func (f family) sums(ctx context.Context, progress io.Writer) ([]diskimage.Sum, error) {
	if !f.branded {
		var patches []diskimage.Patch
		for _, o := range f.outputs {
			patches = append(patches, o.patch)
		}
		return diskimage.HashPatched(ctx, f.image, patches, progress)
	}
	var all []diskimage.Sum
	for _, o := range f.outputs {
		sum, err := diskimage.HashPatched(ctx, o.File, make([]diskimage.Patch, 1), progress)
		if err != nil {
			return nil, err
		}
		all = append(all, sum...)
	}
	return all, nil
}

// start starts to show work on so many images.
func (f family) start(what string, n int) (io.WriteCloser, error) {
	info, err := f.image.Stat()
	if err != nil {
		return nil, err
	}
	return f.progress.start(what, info.Size()*int64(n)), nil
}
