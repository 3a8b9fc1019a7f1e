package xz

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxBlocks is how many blocks, and how many streams, an [Index] may hold. With the 24 MiB a block
// that xz makes by default, that is 24 TiB.
const maxBlocks = 1 << 20

// A Block is where a block lies, in the file and in its contents.
type Block struct {
	Offset     int64 // in the file
	PackedSize int64 // in the file, with header, padding and check
	DataOffset int64 // in the contents
	Size       int64 // of the contents

	unpadded int64 // PackedSize without padding
	check    checkKind
}

// An Index tells where the blocks of a file are.
type Index struct {
	r      io.ReaderAt
	blocks []Block
}

// Size is the size of the contents.
func (x *Index) Size() int64 {
	if len(x.blocks) == 0 {
		return 0
	}
	last := x.blocks[len(x.blocks)-1]
	return last.DataOffset + last.Size
}

// Blocks gives the blocks in the order of their contents.
func (x *Index) Blocks() []Block { return slices.Clone(x.blocks) }

// MaxBlock is the size of the largest block's contents. If it is close to
// [Index.Size], several workers are not faster than one.
func (x *Index) MaxBlock() int64 {
	var size int64
	for _, b := range x.blocks {
		size = max(size, b.Size)
	}
	return size
}

// OpenIndex reads the indices of all streams in the size bytes of r, and
// verifies that they agree with the streams' headers and footers.
func OpenIndex(r io.ReaderAt, size int64) (*Index, error) {
	s := scan{r: r}
	for end := size; end > 0 || size == 0; {
		start, err := s.stream(end)
		if err != nil {
			return nil, fmt.Errorf("stream that ends at byte %d: %w", end, err)
		}
		end = start
	}
	slices.Reverse(s.blocks)
	x := &Index{r, s.blocks}
	var offset int64
	for i := range x.blocks {
		x.blocks[i].DataOffset = offset
		if offset += x.blocks[i].Size; offset < 0 {
			return nil, fmt.Errorf("%w: contents of more than %d bytes", ErrCorrupt, int64(maxVLI))
		}
	}
	return x, nil
}

// A scan goes through a file from its end to its start.
type scan struct {
	r       io.ReaderAt
	src     source // of an index
	streams int
	blocks  []Block // the last first
}

// stream appends the blocks of the stream that ends at byte end, the last
// first, and says where the stream starts.
func (s *scan) stream(end int64) (start int64, err error) {
	if s.streams++; s.streams > maxBlocks {
		return 0, fmt.Errorf("more than %d streams: %w", maxBlocks, errors.ErrUnsupported)
	}
	end, err = s.skipPadding(end)
	if err != nil {
		return 0, err
	}
	p, err := s.readAt(end-headerSize, headerSize)
	if err != nil {
		return 0, err
	}
	kind, indexSize, err := parseFooter(p)
	if err != nil {
		return 0, err
	}
	indexStart := end - headerSize - indexSize
	if indexStart < headerSize {
		return 0, fmt.Errorf("%w: index of %d bytes", ErrCorrupt, indexSize)
	}
	records, err := s.records(indexStart, indexSize)
	if err != nil {
		return 0, fmt.Errorf("index at byte %d: %w", indexStart, err)
	}
	start = indexStart
	for _, r := range slices.Backward(records) {
		packed := padded(r.unpadded)
		if start -= packed; start < headerSize {
			return 0, fmt.Errorf("%w: index at byte %d tells of more blocks than lie before it", ErrCorrupt, indexStart)
		}
		s.blocks = append(s.blocks, Block{Offset: start, PackedSize: packed, Size: r.size, unpadded: r.unpadded, check: kind})
	}
	start -= headerSize
	if p, err = s.readAt(start, headerSize); err != nil {
		return 0, err
	}
	first, err := parseHeader(p)
	if err == nil && first != kind {
		err = fmt.Errorf("%w: check is %d in header, %d in footer", ErrCorrupt, first, kind)
	}
	return start, err
}

func (s *scan) readAt(off int64, n int) ([]byte, error) {
	if off < 0 {
		return nil, fmt.Errorf("%w: stream of fewer than %d bytes", errCutOff, 2*headerSize)
	}
	p := make([]byte, n)
	got, err := s.r.ReadAt(p, off)
	if got == n {
		return p, nil
	}
	if err == io.EOF {
		err = errCutOff
	}
	return nil, fmt.Errorf("input at byte %d: %w", off, err)
}

// skipPadding gives the end of the stream before byte end, behind which there
// may be zeros, section 2.2.
func (s *scan) skipPadding(end int64) (int64, error) {
	for end > 0 {
		n := int(min(end, 4096))
		p, err := s.readAt(end-int64(n), n)
		if err != nil {
			return 0, err
		}
		for len(p) >= 4 && isZero(p[len(p)-4:]) {
			p = p[:len(p)-4]
			end -= 4
		}
		if len(p) > 0 {
			break
		}
	}
	return end, nil
}

// records reads the index of size bytes at byte start.
func (s *scan) records(start, size int64) ([]record, error) {
	s.src.reset(io.NewSectionReader(s.r, start, size), start)
	ix := indexReader{src: &s.src}
	n, err := ix.open()
	if err != nil {
		return nil, err
	}
	if n > maxBlocks-int64(len(s.blocks)) {
		return nil, fmt.Errorf("more than %d blocks: %w", maxBlocks, errors.ErrUnsupported)
	}
	var records []record
	for range n {
		r, err := ix.record()
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	if err := ix.close(); err != nil {
		return nil, err
	}
	if s.src.offset() != start+size {
		return nil, fmt.Errorf("%w: %d bytes long, want %d", ErrCorrupt, s.src.offset()-start, size)
	}
	return records, nil
}
