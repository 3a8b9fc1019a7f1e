package serve

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"

	"clusterctrl/internal/image/card"
	"clusterctrl/internal/image/diskimage"
)

// A block map tells bmaptool which blocks of an image hold data, so that it writes only
// these, and their checksums. Source of the format, version 2.0: the manual of bmaptool
// and the comments in the files that it makes.
const (
	mapExt   = ".bmap" // behind the name of the image, where bmaptool looks for it
	mapBlock = 4096    // bytes
)

// A mapped range is one of blocks that hold data, with its checksum.
type mapped struct {
	card.Range
	sum diskimage.Sum
}

// A blockMap is what all images have in common: the ranges of the controller's image.
// The block with the sector in which images differ is a range of its own.
type blockMap struct {
	turn   chan struct{} // is held by the request that computes the ranges
	ranges []mapped
}

// compute returns the ranges. The first request reads the file for them, and others
// wait. If its client goes, the next one begins anew.
func (m *blockMap) compute(ctx context.Context, v version) ([]mapped, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case m.turn <- struct{}{}:
	}
	defer func() { <-m.turn }()
	if m.ranges != nil {
		return m.ranges, nil
	}
	f, err := v.source.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ranges []mapped
	for _, r := range apart(card.Used(io.NewSectionReader(f, 0, v.source.size)), v.patch.Offset/mapBlock*mapBlock) {
		sum, err := sumOf(ctx, io.NewSectionReader(f, r.Start, r.End-r.Start))
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, mapped{r, sum})
	}
	m.ranges = ranges
	return ranges, nil
}

// apart makes the block at an offset a range of its own.
func apart(ranges []card.Range, block int64) (all []card.Range) {
	for _, r := range ranges {
		ends := []int64{r.Start, max(r.Start, min(block, r.End)), max(r.Start, min(block+mapBlock, r.End)), r.End}
		for i, start := range ends[:len(ends)-1] {
			if end := ends[i+1]; start < end {
				all = append(all, card.Range{Start: start, End: end})
			}
		}
	}
	return all
}

// sumOf sums up what it reads, until ctx ends.
func sumOf(ctx context.Context, r io.Reader) (sum diskimage.Sum, err error) {
	h, buf := sha256.New(), make([]byte, 1<<20)
	for err == nil && ctx.Err() == nil {
		var n int
		n, err = r.Read(buf)
		h.Write(buf[:n])
	}
	if err == io.EOF {
		return diskimage.Sum(h.Sum(nil)), nil
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return sum, err
}

// serveMap answers with the block map of an image.
func (s *Site) serveMap(w http.ResponseWriter, r *http.Request, i *image) {
	ranges, err := s.blocks.compute(r.Context(), i.file)
	var text string
	if err == nil {
		text, err = i.file.blockMap(r.Context(), ranges)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	io.WriteString(w, text)
}

// blockMap returns the block map of a version.
func (v version) blockMap(ctx context.Context, ranges []mapped) (string, error) {
	f, err := v.source.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	c := &content{file: f, size: v.source.size, patch: v.patch}
	var list strings.Builder
	var blocks int64
	for _, r := range ranges {
		sum := r.sum
		if r.Start <= v.patch.Offset && v.patch.Offset < r.End {
			if _, err := c.Seek(r.Start, io.SeekStart); err != nil {
				return "", err
			}
			if sum, err = sumOf(ctx, io.LimitReader(c, r.End-r.Start)); err != nil {
				return "", err
			}
		}
		first, last := r.Start/mapBlock, (r.End-1)/mapBlock
		blocks += last - first + 1
		fmt.Fprintf(&list, "        <Range chksum=\"%v\"> %d-%d </Range>\n", sum, first, last)
	}
	const form = `<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`
	fill := func(sum string) string {
		return fmt.Sprintf(form, c.size, mapBlock, (c.size+mapBlock-1)/mapBlock, blocks, sum, list.String())
	}
	unknown := strings.Repeat("0", 2*sha256.Size) // stands for the file's checksum while that is computed
	return fill(fmt.Sprintf("%x", sha256.Sum256([]byte(fill(unknown))))), nil
}
