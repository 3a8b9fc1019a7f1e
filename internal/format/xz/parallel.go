package xz

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Decode decodes all blocks with so many workers at a time, at least one. Each
// takes the next block and calls sink with one piece of its contents after the
// other, and with the piece's offset. Sink is called by several workers at once
// and must not keep p. Pieces of one block come in order.
//
// A worker needs as much memory as the contents of its largest block, or, if
// those are more than 32 MiB, as one and a half dictionaries. Larger
// dictionaries than of maxDict bytes are refused.
//
// Decode gives the first error, sink's as it is. The check of a block follows
// its last piece, so what sink got is good only once Decode has given nil.
func (x *Index) Decode(ctx context.Context, workers int, maxDict int64, sink func(off int64, p []byte) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var taken atomic.Int64
	for range min(max(workers, 1), len(x.blocks)) {
		group.Go(func() error {
			w := worker{r: x.r, sink: sink}
			w.block.maxDict = maxDict
			for i := taken.Add(1); i <= int64(len(x.blocks)); i = taken.Add(1) {
				if err := w.decode(ctx, i, x.blocks[i-1]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// A worker decodes blocks, one at a time.
type worker struct {
	r     io.ReaderAt
	src   source
	block blockReader
	sink  func(off int64, p []byte) error
}

// decode decodes b, which is the nth block.
func (w *worker) decode(ctx context.Context, n int64, b Block) error {
	w.src.reset(io.NewSectionReader(w.r, b.Offset, b.PackedSize), b.Offset)
	err := w.block.open(&w.src, b.check, b.Size)
	var p []byte
	for off := b.DataOffset; err == nil; off += int64(len(p)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p, err = w.block.piece(); err != nil {
			break
		}
		if err := w.sink(off, p); err != nil {
			return err
		}
	}
	if got := w.block.record.unpadded; err == io.EOF && got != b.unpadded {
		err = fmt.Errorf("%w: %d bytes long, %d in the index", ErrCorrupt, got, b.unpadded)
	}
	if err != io.EOF {
		return fmt.Errorf("block %d at byte %d: %w", n, b.Offset, err)
	}
	return nil
}
