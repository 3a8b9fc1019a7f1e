package card

import (
	"cmp"
	"errors"
	"io"
	"iter"
	"slices"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
)

// A Range is a part of a disk, in bytes.
type Range struct{ Start, End int64 }

const (
	// alignment is where ranges start and end, but for the end of an image: at
	// pages of memory and of flash.
	alignment = 4 << 10
	// smallGap is the size up to which writing the gap between two ranges takes no
	// longer than skipping it.
	smallGap = 64 << 10
)

// Used returns the parts of an image that must be on a card, in order. It leaves out
// the free space of file systems; all that is not known to be free counts as used. A
// hole in the image's file counts as used zeros: an old card may hold other data there.
func Used(image Image) []Range {
	u := used{size: image.Size()}
	table, err := mbr.Read(image, u.size)
	if err != nil {
		return All(u.size)
	}
	for _, p := range table.Partitions {
		if p.Size == 0 {
			continue
		}
		disk := io.NewSectionReader(image, p.Start, p.Size)
		free, err := freeIn(p.Type, readOnly{disk}, p.Size)
		if err != nil {
			continue // a file system that is not understood is used as a whole
		}
		for _, f := range free {
			u.free = append(u.free, Range{p.Start + f.Start, p.Start + f.End})
		}
	}
	return u.ranges()
}

// All returns the whole of size bytes.
func All(size int64) []Range { return []Range{{0, size}} }

// Total returns how many bytes ranges have together.
func Total(ranges []Range) (n int64) {
	for _, r := range ranges {
		n += r.End - r.Start
	}
	return n
}

// freeIn returns the free space in a partition of a type.
func freeIn(kind uint8, disk readOnly, size int64) (free []Range, err error) {
	switch kind {
	case 0x0b, 0x0c, 0x0e: // FAT32, FAT32 and FAT16 by sector numbers
		fsys, err := fat.Open(disk, size)
		if err != nil {
			return nil, err
		}
		if info, err := fsys.Info(); err != nil || info.Dirty {
			return nil, errors.Join(err, errors.New("not unmounted"))
		}
		return collect(fsys.FreeExtents(), func(x fat.Extent) Range { return Range{x.Offset, x.Offset + x.Length} })
	case 0x83:
		fsys, err := ext4.Open(disk, size)
		if err != nil {
			return nil, err
		}
		return collect(fsys.FreeExtents(), func(x ext4.Extent) Range { return Range{x.Offset, x.Offset + x.Length} })
	}
	return nil, errors.ErrUnsupported
}

// collect joins extents that follow each other, and forgets those that are small.
func collect[X any](extents iter.Seq2[X, error], of func(X) Range) (ranges []Range, err error) {
	for x, err := range extents {
		if err != nil {
			return nil, err
		}
		r, n := of(x), len(ranges)
		switch {
		case n > 0 && ranges[n-1].End == r.Start:
			ranges[n-1].End = r.End
		case n > 0 && ranges[n-1].End-ranges[n-1].Start <= smallGap:
			ranges[n-1] = r
		default:
			ranges = append(ranges, r)
		}
	}
	return ranges, nil
}

// readOnly lets the editors of file systems, which edit nothing here, read a partition.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// used turns the free parts of a disk into the used ones. The partitions of a table may
// be in any order, but do not overlap.
type used struct {
	size int64
	free []Range
}

// ranges returns the used ranges, aligned, and joined across gaps that are too small to
// skip.
func (u used) ranges() []Range {
	slices.SortFunc(u.free, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var ranges []Range
	start := int64(0) // of what is used since the last gap
	for _, f := range u.free {
		gap := Range{(f.Start + alignment - 1) / alignment * alignment, f.End / alignment * alignment}
		if gap.End-gap.Start <= smallGap {
			continue
		}
		if gap.Start > start {
			ranges = append(ranges, Range{start, gap.Start})
		}
		start = gap.End
	}
	if start < u.size {
		ranges = append(ranges, Range{start, u.size})
	}
	return ranges
}
