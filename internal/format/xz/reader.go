package xz

import (
	"fmt"
	"io"
)

// A Reader decodes a file from its first byte to its last, and verifies all of
// it, the index included, before it gives [io.EOF].
type Reader struct {
	src   source
	block blockReader
	place place
	kind  checkKind // of the stream
	seen  tally     // blocks of the stream
	piece []byte    // decoded, not read yet
	err   error     // why there is no more to decode
}

// A place is the part that comes next in the input of a [Reader].
type place int

const (
	fileStart place = iota
	streamStart
	blockStart // or the index
	blockInside
)

// NewReader returns a Reader of the file that comes from r. It needs as much
// memory as a worker of [Index.Decode].
func NewReader(r io.Reader, maxDict int64) *Reader {
	x := new(Reader)
	x.src.reset(r, 0)
	x.block.maxDict = maxDict
	return x
}

func (r *Reader) Read(p []byte) (int, error) {
	for len(r.piece) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.piece, r.err = r.advance()
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// WriteTo lets [io.Copy] do without a buffer.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if len(r.piece) > 0 {
			n, err := w.Write(r.piece)
			r.piece = r.piece[n:]
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
		if r.err == io.EOF {
			return total, nil
		}
		if r.err != nil {
			return total, r.err
		}
		r.piece, r.err = r.advance()
	}
}

// advance goes on to the next place, and decodes if that is inside a block.
func (r *Reader) advance() (piece []byte, err error) {
	switch r.place {
	case blockInside:
		piece, err = r.block.piece()
		if err == io.EOF {
			r.seen.add(r.block.record)
			r.place, err = blockStart, nil
		}
	case blockStart:
		return nil, r.openBlock()
	default:
		return nil, r.openStream()
	}
	if err != nil {
		err = fmt.Errorf("block %d at byte %d: %w", r.seen.n+1, r.block.start, err)
	}
	return piece, err
}

// openStream reads a stream header, with zeros before it if it isn't the first.
func (r *Reader) openStream() error {
	if r.place == streamStart {
		n := r.src.fill(4)
		if n == 0 && r.src.err == io.EOF {
			return io.EOF
		}
		if n >= 4 && isZero(r.src.buf[r.src.pos:r.src.pos+4]) {
			_, err := r.src.take(4)
			return err
		}
	}
	p, err := r.src.take(headerSize)
	if err != nil {
		return err
	}
	r.kind, err = parseHeader(p)
	r.seen, r.place = newTally(), blockStart
	return err
}

// openBlock reads a block header or, if there is none, what ends a stream.
func (r *Reader) openBlock() error {
	if r.src.fill(1) < 1 {
		return r.src.short()
	}
	at := r.src.offset()
	if r.src.buf[r.src.pos] == 0 {
		r.place = streamStart
		if err := r.closeStream(); err != nil {
			return fmt.Errorf("index at byte %d: %w", at, err)
		}
		return nil
	}
	r.place = blockInside
	if err := r.block.open(&r.src, r.kind, -1); err != nil {
		return fmt.Errorf("block %d at byte %d: %w", r.seen.n+1, at, err)
	}
	return nil
}

// closeStream reads the index and footer and compares them with the blocks.
func (r *Reader) closeStream() error {
	ix := indexReader{src: &r.src}
	start := r.src.offset()
	n, err := ix.open()
	if err != nil {
		return err
	}
	if n != r.seen.n {
		return fmt.Errorf("%w: tells of %d blocks, want %d", ErrCorrupt, n, r.seen.n)
	}
	told := newTally()
	for range n {
		rec, err := ix.record()
		if err != nil {
			return err
		}
		told.add(rec)
	}
	if err := ix.close(); err != nil {
		return err
	}
	if !told.equal(r.seen) {
		return fmt.Errorf("%w: tells of other blocks than there are", ErrCorrupt)
	}
	size := r.src.offset() - start
	p, err := r.src.take(headerSize)
	if err != nil {
		return err
	}
	kind, indexSize, err := parseFooter(p)
	if err != nil {
		return err
	}
	if kind != r.kind || indexSize != size {
		return fmt.Errorf("%w: footer tells of check %d and %d bytes of index, want %d and %d",
			ErrCorrupt, kind, indexSize, r.kind, size)
	}
	return nil
}
