// Package packed compresses a disk image so that files of images which differ
// from it in one sector differ from its file in a few bytes.
//
// An image is cut into pieces that are compressed each by itself, several at a
// time. The sector that differs is a piece of its own, which is stored as it is:
// it always takes the same room, so that another sector, with its checksum, can
// take its place. That needs no extension of any format: an .xz file consists of
// blocks, and .zst and .gz files of frames and members that follow each other.
package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/diskimage"
	"golang.org/x/sync/errgroup"
)

// A Format is a way to compress, named by the suffix of its files.
type Format string

const (
	Zstd Format = "zst" // packs and unpacks fast
	XZ   Format = "xz"  // takes the least space and the most time
	Gzip Format = "gz"  // can be unpacked anywhere
)

// Formats are all of them.
var Formats = []Format{Zstd, XZ, Gzip}

// ParseFormat parses the name of a format.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("format %q: want %s, %s or %s", s, Zstd, XZ, Gzip)
}

// Ext is the end of the names of such files, "" for no format.
func (f Format) Ext() string {
	if f == "" {
		return ""
	}
	return "." + string(f)
}

// A packer makes the parts of a file.
type packer interface {
	head() []byte
	pack(contents []byte) ([]byte, error) // may be called from several goroutines
	store(contents []byte) []byte         // as long for contents of the same length
	add(piece []byte)                     // in the order of the file
	tail() []byte
	pieceSize() int
}

func (f Format) packer() packer {
	switch f {
	case XZ:
		return new(xzPacker)
	case Zstd:
		return newZstdPacker()
	case Gzip:
		return gzipPacker{}
	}
	panic("packed: no format")
}

// A Slot is where in a compressed file the sector lies that can be replaced.
type Slot struct {
	format Format
	offset int64
}

// Patch returns the patch that turns the file into that of an image with another sector.
func (s Slot) Patch(sector []byte) diskimage.Patch {
	if len(sector) != mbr.SectorSize {
		panic("packed: no sector")
	}
	return diskimage.Patch{Offset: s.offset, Data: s.format.packer().store(sector)}
}

// Write compresses an image of size bytes to w. The sector that starts at offset
// sector is the one that can be replaced. Progress is told of every byte of the
// image, in pieces of zeros.
//
// Memory is needed for a piece of up to 16 MiB and its encoder for each core, with XZ some
// 80 MB in all. The same image gives the same bytes, whatever the number of cores.
func (f Format) Write(ctx context.Context, w io.Writer, image io.ReaderAt, size, sector int64, progress io.Writer) (Slot, error) {
	if sector < 0 || sector > size-mbr.SectorSize {
		return Slot{}, fmt.Errorf("sector at byte %d of an image of %d", sector, size)
	}
	cores := runtime.GOMAXPROCS(0)
	run := run{packer: f.packer(), image: image, queue: make(chan chan piece, cores), cores: make(chan struct{}, cores)}
	run.zeros = make([]byte, run.pieceSize())
	run.zeroPiece = sync.OnceValues(func() ([]byte, error) { return run.packer.pack(run.zeros) })
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(run.queue)
		if err := run.cut(ctx, g, 0, sector); err != nil {
			return err
		}
		if err := run.store(ctx, sector); err != nil {
			return err
		}
		return run.cut(ctx, g, sector+mbr.SectorSize, size)
	})
	var slot Slot
	g.Go(func() (err error) {
		slot.offset, err = run.write(ctx, w, progress)
		return err
	})
	slot.format = f
	return slot, g.Wait()
}

// A piece is a part of a file and the size of what it holds.
type piece struct {
	bytes  []byte
	size   int
	stored bool
}

// A run is a Write in progress.
type run struct {
	packer
	image io.ReaderAt
	queue chan chan piece // in the order of the file; each is sent one piece
	cores chan struct{}   // taken by pieces that are being packed
	zeros []byte          // a whole piece

	zeroPiece func() ([]byte, error) // zeros, packed
}

// pack calls the packer's pack, for a piece of zeros only once.
func (r *run) pack(contents []byte) ([]byte, error) {
	if bytes.Equal(contents, r.zeros) {
		return r.zeroPiece()
	}
	return r.packer.pack(contents)
}

// cut has a part of the image packed, piece by piece.
func (r *run) cut(ctx context.Context, g *errgroup.Group, start, end int64) error {
	for start < end {
		n := min(int64(r.pieceSize()), end-start)
		off, done := start, make(chan piece, 1)
		if err := r.enqueue(ctx, done); err != nil {
			return err
		}
		g.Go(func() error {
			r.cores <- struct{}{}
			defer func() { <-r.cores }()
			contents := make([]byte, n)
			if err := readAt(r.image, contents, off); err != nil {
				return err
			}
			packed, err := r.pack(contents)
			done <- piece{packed, len(contents), false}
			return err
		})
		start += n
	}
	return nil
}

// store has the sector stored.
func (r *run) store(ctx context.Context, sector int64) error {
	contents, done := make([]byte, mbr.SectorSize), make(chan piece, 1)
	if err := readAt(r.image, contents, sector); err != nil {
		return err
	}
	done <- piece{r.packer.store(contents), mbr.SectorSize, true}
	return r.enqueue(ctx, done)
}

func readAt(image io.ReaderAt, p []byte, off int64) error {
	n, err := image.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("image at byte %d: %w", off, err)
}

func (r *run) enqueue(ctx context.Context, done chan piece) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case r.queue <- done:
		return nil
	}
}

// write writes the file and returns where the stored piece starts.
func (r *run) write(ctx context.Context, w io.Writer, progress io.Writer) (stored int64, err error) {
	var size int64
	put := func(p []byte) error {
		n, err := w.Write(p)
		size += int64(n)
		return err
	}
	if err := put(r.head()); err != nil {
		return 0, err
	}
	for done := range r.queue {
		var p piece
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case p = <-done:
		}
		if p.stored {
			stored = size
		}
		r.add(p.bytes)
		if err := put(p.bytes); err != nil {
			return 0, err
		}
		if progress != nil {
			progress.Write(r.zeros[:p.size])
		}
	}
	return stored, put(r.tail())
}

// independent is a part of packers whose files consist of pieces alone.
type independent struct{}

func (independent) head() []byte   { return nil }
func (independent) add([]byte)     {}
func (independent) tail() []byte   { return nil }
func (independent) pieceSize() int { return 8 << 20 }

// encode collects what an encoder writes.
func encode(contents []byte, open func(io.Writer) (io.WriteCloser, error)) ([]byte, error) {
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(contents)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}
