package diskimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// A segment is a part of a file, from start up to end.
type segment struct{ start, end int64 }

// copyStep is how much is copied between two looks at the context.
const copyStep = 16 << 20

// Clone makes o, which must be empty, a copy of src: one that shares src's
// blocks where the file system can, else one with src's holes. A progress that
// is not nil is told of every byte, in pieces of zeros.
func (o *Output) Clone(ctx context.Context, src *os.File, progress io.Writer) error {
	size, err := fileSize(src)
	if err != nil {
		return err
	}
	err = share(o, src)
	if errors.Is(err, errors.ErrUnsupported) {
		if err = o.Truncate(size); err == nil {
			c := copying{dst: o.File, src: src, count: counter(progress)}
			return c.copy(ctx, segment{0, size})
		}
	}
	if err != nil {
		return failedWrite(o.File, err)
	}
	counter(progress)(size)
	return nil
}

// CopyRange copies size bytes of src at srcOff into dst at dstOff, where dst
// must be empty or have a hole. Holes stay holes.
func CopyRange(ctx context.Context, dst *os.File, dstOff int64, src *os.File, srcOff, size int64) error {
	total, err := fileSize(dst)
	if err != nil {
		return err
	}
	if err := dst.Truncate(max(total, dstOff+size)); err != nil {
		return failedWrite(dst, err)
	}
	c := copying{dst: dst, src: src, shift: dstOff - srcOff, count: counter(nil)}
	return c.copy(ctx, segment{srcOff, srcOff + size})
}

// A copying puts parts of src into dst, moved by shift bytes.
type copying struct {
	dst, src *os.File
	shift    int64
	count    func(int64) // progress
	buf      []byte      // of copyThrough, once it was needed
}

func (c *copying) copy(ctx context.Context, all segment) error {
	for s, err := range segments(c.src, all) {
		if err != nil {
			return fmt.Errorf("%s: %w", finalName(c.src.Name()), err)
		}
		for s.start < s.end {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			step := segment{s.start, min(s.end, s.start+copyStep)}
			if err := c.copySegment(step); err != nil {
				return failedWrite(c.dst, err)
			}
			c.count(step.end - all.start)
			s.start, all.start = step.end, step.end
		}
	}
	c.count(all.end - all.start)
	return nil
}

// copyThrough copies by reading and writing.
func (c *copying) copyThrough(s segment) error {
	w := &writer{files: []*os.File{c.dst}, layout: Sparse, count: counter(nil)}
	if c.buf == nil {
		c.buf = make([]byte, pieceSize)
	}
	for s.start < s.end {
		n, err := c.src.ReadAt(c.buf[:min(pieceSize, s.end-s.start)], s.start)
		if n == 0 {
			return fmt.Errorf("%s: %w", finalName(c.src.Name()), withoutPath(cmp.Or(err, io.ErrUnexpectedEOF)))
		}
		if err := w.write(s.start+c.shift, c.buf[:n]); err != nil {
			return err
		}
		s.start += int64(n)
	}
	return nil
}

// SharesBlocks reports whether copies of files in dir share their blocks, by
// trying it on two temporary files.
func SharesBlocks(dir string) bool {
	pair, err := Create(dir, Refuse, ".reflink-a", ".reflink-b")
	if err != nil {
		return false
	}
	defer pair.Abort()
	src, dst := pair.Files[0], pair.Files[1]
	if _, err := src.WriteAt(zeros[:Sparse], 0); err != nil {
		return false
	}
	return share(dst, src.File) == nil
}
