package diskimage

import (
	"fmt"
	"io"
)

// A Layer is an image with changes that are in memory alone: the image below is only
// ever read. Several goroutines may read a Layer, and lay others on it, as long as none
// writes to it.
type Layer struct {
	below  io.ReaderAt
	size   int64
	blocks map[int64][]byte // by number
}

// layerBlock is the unit in which a Layer keeps changes, in bytes: the block size of
// most file systems.
const layerBlock = 4 << 10

// NewLayer returns a Layer without changes on an image of size bytes.
func NewLayer(below io.ReaderAt, size int64) *Layer {
	return &Layer{below, size, map[int64][]byte{}}
}

// Size returns the size of the image in bytes.
func (l *Layer) Size() int64 { return l.size }

// ReadAt reads the image as it was changed.
func (l *Layer) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off >= l.size {
		return 0, io.EOF
	}
	if int64(len(p)) > l.size-off {
		p, err = p[:l.size-off], io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		if block := l.blocks[at/layerBlock]; block != nil {
			n += copy(p[n:], block[at%layerBlock:])
			continue
		}
		end := min(len(p), n+int(layerBlock-at%layerBlock))
		for end < len(p) && l.blocks[(off+int64(end))/layerBlock] == nil {
			end = min(len(p), end+layerBlock)
		}
		k, belowErr := readFullAt(l.below, p[n:end], at)
		if n += k; belowErr != nil {
			return n, belowErr
		}
	}
	return n, err
}

// WriteAt changes the image in memory.
func (l *Layer) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off > l.size || int64(len(p)) > l.size-off {
		return 0, fmt.Errorf("write of %d bytes at byte %d of an image of %d", len(p), off, l.size)
	}
	for n < len(p) {
		at := off + int64(n)
		block, err := l.block(at / layerBlock)
		if err != nil {
			return n, err
		}
		n += copy(block[at%layerBlock:], p[n:])
	}
	return n, nil
}

// block returns a block that may be changed.
func (l *Layer) block(number int64) ([]byte, error) {
	if block := l.blocks[number]; block != nil {
		return block, nil
	}
	start := number * layerBlock
	block := make([]byte, min(layerBlock, l.size-start))
	if _, err := readFullAt(l.below, block, start); err != nil {
		return nil, err
	}
	l.blocks[number] = block
	return block, nil
}

// On puts a patch on an image, as a Layer.
func (p Patch) On(below *Layer) (*Layer, error) {
	l := NewLayer(below, below.size)
	if err := p.check(l.size); err != nil || p.isZero() {
		return l, err
	}
	_, err := l.WriteAt(p.Data, p.Offset)
	return l, err
}

// readFullAt is ReadAt, except that a short read is an error other than io.EOF.
func readFullAt(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
