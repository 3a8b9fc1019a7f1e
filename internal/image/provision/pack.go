package provision

import (
	"context"

	"clusterctrl/internal/image/diskimage"
)

// names are those of the outputs, for a base of a name.
func (o Options) names(base name) []string {
	names := base.names(o.Settings)
	for i := range names {
		names[i] += o.Format.Ext()
	}
	return names
}

// pack compresses the image into the first output and makes of patches of the
// image those of the outputs.
func (b *build) pack(ctx context.Context, patches []diskimage.Patch) ([]diskimage.Patch, error) {
	progress := b.Progress.start("compress", b.size)
	defer progress.Close()
	first := &appending{b.set.Files[0], 0}
	slot, err := b.Format.Write(ctx, first, b.raw()[0], b.size, b.line.offset, progress)
	if err != nil {
		return nil, err
	}
	b.ready = 1
	var packed []diskimage.Patch
	for _, p := range patches {
		packed = append(packed, slot.Patch(p.Data))
	}
	return packed, nil
}

// An appending writes an output from its start to its end.
type appending struct {
	*diskimage.Output
	size int64
}

func (a *appending) Write(p []byte) (int, error) {
	n, err := a.WriteAt(p, a.size)
	a.size += int64(n)
	return n, err
}
