package provision

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// archiveSource says what the archive for nodes without cards is made from: a
// controller's image, which is changed in memory.
func (o Options) archiveSource(image *rootfs.Image, system recipe.System) nfsroot.Source {
	system.Gadget = node.Gadget(o.Settings.Gadget) // such nodes have another default
	image.SetTime(o.timeOf(image))
	return nfsroot.Source{Image: image, System: system, Program: o.USBRoot}
}

// archive writes the archive for nodes without cards, from the controller's image in a
// file.
func (b *build) archive(ctx context.Context, from *os.File, to *diskimage.Output) error {
	image, err := rootfs.OpenImage(from, b.size) // never closed: nothing is written
	if err != nil {
		return err
	}
	if err := to.Truncate(0); err != nil { // an image was decoded into it before its name was known
		return err
	}
	show := b.Progress.start("archive", 0)
	sum := sha256.New()
	out := hashing{&appending{to, 0}, sum, b.Sums}
	err = b.archiveSource(image, b.system).Write(ctx, out, b.NFSRoot, show)
	if err := errors.Join(err, show.Close()); err != nil {
		return tooFull(err)
	}
	if b.Sums {
		b.set.SetSum(to.Final, diskimage.Sum(sum.Sum(nil)))
	}
	return nil
}

// A hashing writer keeps the checksum of what it wrote, where that is wanted.
type hashing struct {
	io.Writer
	sum    hash.Hash
	wanted bool
}

func (h hashing) Write(p []byte) (int, error) {
	n, err := h.Writer.Write(p)
	if h.wanted {
		h.sum.Write(p[:n])
	}
	return n, err
}
