package xz

import (
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	// pieceSize is how much of a block is decoded before it is handed out:
	// enough to make a write worth while, and still in the cache by then.
	pieceSize = 1 << 20

	// A block of up to flatSize bytes has a window that holds all of it, which
	// saves moving the dictionary. By default, xz makes blocks of 24 MiB.
	flatSize = 32 << 20

	// minSlide is how far a window slides at least.
	minSlide = 4 << 20
)

// A blockReader decodes one block after the other into a window, which holds
// the dictionary and what has not been handed out.
type blockReader struct {
	chunks
	maxDict int64

	window   []byte
	limit    int   // size that the window may grow to
	pos, out int   // the next byte is decoded to window[pos], handed out from window[out]
	next     chunk // header that was read ahead of its chunk; none if its size is 0
	ended    bool  // the last chunk was decoded

	head    blockHeader
	start   int64 // offset of the block in the input
	payload int64 // offset of its first chunk
	done    int64 // bytes handed out
	check   check
	record  record // what the index must say about the block, once it is closed
}

// open starts the block at the source's next byte. Its contents are size bytes,
// or of unknown size if size is -1.
func (b *blockReader) open(src *source, k checkKind, size int64) (err error) {
	b.start = src.offset()
	if b.head, err = readBlockHeader(src); err != nil {
		return err
	}
	if b.head.size, err = agreed(b.head.size, size); err != nil {
		return err
	}
	if b.check, err = newCheck(k); err != nil {
		return err
	}
	b.payload = src.offset()
	return b.begin(src, b.head.dict, b.head.size)
}

// begin sets the window up for the chunks of a block with a dictionary of dict
// bytes and contents of size bytes, -1 if that is not known.
func (b *blockReader) begin(src *source, dict, size int64) error {
	if size >= 0 {
		dict = min(dict, size)
	}
	if dict > min(b.maxDict, math.MaxInt/2) {
		return fmt.Errorf("dictionary of %d bytes, at most %d allowed: %w", dict, b.maxDict, errors.ErrUnsupported)
	}
	b.reset(src, int(dict))
	b.limit = int(dict) + max(int(dict)/2, minSlide)
	if size >= 0 && size <= max(flatSize, int64(b.limit)) {
		b.limit = int(size)
	}
	b.pos, b.out, b.done, b.next, b.ended = 0, 0, 0, chunk{}, false
	return nil
}

// agreed is the size that two places tell, of which either may be silent (-1).
func agreed(a, b int64) (int64, error) {
	if a >= 0 && b >= 0 && a != b {
		return 0, fmt.Errorf("%w: size is %d in its header, %d in the index", ErrCorrupt, a, b)
	}
	return max(a, b), nil
}

// piece decodes and hands out the next bytes of the block, which stay as they
// are until the next call. At the end it verifies the block and gives [io.EOF].
func (b *blockReader) piece() ([]byte, error) {
	for b.pos-b.out < pieceSize && !b.ended {
		if b.next.size == 0 {
			var err error
			if b.next, err = b.header(); err != nil {
				return nil, err
			}
			b.ended = b.next.size == 0
			continue
		}
		size := b.next.size
		if total := b.done + int64(b.pos-b.out+size); b.head.size >= 0 && total > b.head.size {
			return nil, fmt.Errorf("%w: contents go on behind byte %d", ErrCorrupt, b.head.size)
		}
		if !b.makeRoom(size) {
			break
		}
		if err := b.body(b.next, b.window, b.pos); err != nil {
			return nil, err
		}
		b.pos += size
		b.next.size = 0
	}
	p := b.window[b.out:b.pos]
	if len(p) == 0 {
		return nil, b.close()
	}
	b.check.add(p)
	b.done += int64(len(p))
	b.out = b.pos
	return p, nil
}

// makeRoom makes room for n bytes behind the decoded bytes, by growing or sliding the
// window. It cannot as long as it would have to drop bytes that were not handed out.
func (b *blockReader) makeRoom(n int) bool {
	need := b.pos + n + copySlack
	if need <= len(b.window) {
		return true
	}
	if full := max(b.limit+copySlack, n+copySlack); need <= full {
		size := min(full, max(need, 4*len(b.window))) // memory grows only with the input that was read
		grown := make([]byte, size)
		copy(grown, b.window[:b.pos])
		b.window = grown
		return true
	}
	if b.out < b.pos {
		return false
	}
	keep := min(b.dict, b.pos)
	copy(b.window, b.window[b.pos-keep:b.pos])
	b.base -= b.pos - keep
	b.pos, b.out = keep, keep
	return b.makeRoom(n)
}

// close reads what follows the last chunk and verifies the block.
func (b *blockReader) close() error {
	if b.head.size >= 0 && b.done != b.head.size {
		return fmt.Errorf("%w: contents end at byte %d, want %d", ErrCorrupt, b.done, b.head.size)
	}
	packed := b.src.offset() - b.payload
	if b.head.packed >= 0 && packed != b.head.packed {
		return fmt.Errorf("%w: payload of %d bytes, want %d", ErrCorrupt, packed, b.head.packed)
	}
	checkSize := b.check.kind.size()
	b.record = record{b.payload - b.start + packed + int64(checkSize), b.done}
	padding, err := b.src.take(int(padded(packed) - packed))
	if err != nil {
		return err
	}
	if !isZero(padding) {
		return fmt.Errorf("%w: padding holds % x, want zeros", ErrCorrupt, padding)
	}
	stored, err := b.src.take(checkSize)
	if err != nil {
		return err
	}
	if err := b.check.verify(stored); err != nil {
		return err
	}
	return io.EOF
}
