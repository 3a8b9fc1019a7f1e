package provision

import (
	"context"
	"io"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
)

// pack compresses an image of size bytes, which has its command line in the sector at an
// offset, into the first of outputs, and makes their patches of the image patches of
// the compressed one.
func pack(ctx context.Context, format packed.Format, image io.ReaderAt, size, sector int64, outputs []output, progress Progress) error {
	show := progress.start("compress", size)
	defer show.Close()
	slot, err := format.Write(ctx, &appending{outputs[0].Output, 0}, image, size, sector, show)
	if err != nil {
		return err
	}
	for i := range outputs {
		outputs[i].patch = slot.Patch(outputs[i].patch.Data)
	}
	return nil
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
