package ext4

import (
	"fmt"
	"iter"
)

// allocate takes n free blocks in as few runs as it finds, from goal on if that
// is possible, else from goal's group on.
func (f *FS) allocate(goal blockNumber, n uint64) (taken []span, err error) {
	if free := f.free().blocks; free < n {
		return nil, fmt.Errorf("%w: %d blocks wanted, %d free", ErrNoSpace, n, free)
	}
	for n > 0 {
		s, err := f.findRun(goal, n)
		if err != nil {
			return nil, err
		}
		if err := f.markBlocks(s, true); err != nil {
			return nil, err
		}
		taken = append(taken, s)
		n -= s.count
		goal = s.end()
	}
	return taken, nil
}

// findRun finds a run of at most n free blocks: one of n if it can.
func (f *FS) findRun(goal blockNumber, n uint64) (best span, err error) {
	const look = 256 // groups with free blocks, before the best so far will do
	if goal < blockNumber(f.super.FirstDataBlock) || goal >= f.blocks {
		goal = blockNumber(f.super.FirstDataBlock)
	}
	enough := min(n, uint64(f.super.BlocksPerGroup)/2)
	start, _ := f.groupOf(goal)
	for i, looked := uint32(0), 0; i < f.groups && (looked < look || best.count == 0); i++ {
		g := uint32((uint64(start) + uint64(i)) % uint64(f.groups))
		if f.roomIn(g).blocks <= best.count {
			continue
		}
		looked++
		s, err := f.findRunIn(g, goal, enough)
		if err != nil {
			return span{}, fmt.Errorf("group %d: %w", g, err)
		}
		if s.count > best.count {
			best = s
		}
		if best.count >= enough {
			break
		}
	}
	if best.count == 0 {
		return best, fmt.Errorf("%w: no free block", ErrNoSpace)
	}
	best.count = min(best.count, n)
	return best, nil
}

// findRunIn finds the run of free blocks at goal, the first one in group g, of
// at least enough blocks, or else the longest.
func (f *FS) findRunIn(g uint32, goal blockNumber, enough uint64) (best span, err error) {
	d, err := f.descriptor(g)
	if err != nil {
		return best, err
	}
	bitmap, err := f.blockBitmap(g, &d)
	if err != nil {
		return best, err
	}
	for s := range f.freeRuns(g, bitmap) {
		if s.first <= goal && goal < s.end() && uint64(s.end()-goal) >= enough {
			return span{goal, uint64(s.end() - goal)}, nil
		}
		if s.count > best.count && best.count < enough {
			best = s
		}
	}
	return best, nil
}

// freeRuns are the runs of zeros in the block bitmap of group g.
func (f *FS) freeRuns(g uint32, bitmap []byte) iter.Seq[span] {
	return func(yield func(span) bool) {
		blocks := f.groupSpan(g)
		for i, count := 0, int(blocks.count); i < count; {
			if bitmap[i/8] == 0xff {
				i = i/8*8 + 8
				continue
			}
			first := i
			for i < count && !bit(bitmap, i) {
				i++
			}
			if i > first && !yield(span{blocks.first + blockNumber(first), uint64(i - first)}) {
				return
			}
			if i == first {
				i++
			}
		}
	}
}

// freeBlocks gives back blocks of a file.
func (f *FS) freeBlocks(s span) error {
	if err := f.checkData(s); err != nil {
		return err
	}
	f.forgetSpan(s)
	return f.markBlocks(s, false)
}

// markBlocks notes that blocks are used from now on, or free.
func (f *FS) markBlocks(s span, used bool) error {
	for s.count > 0 {
		g, first := f.groupOf(s.first)
		here := min(s.count, f.groupSpan(g).count-uint64(first))
		if err := f.markBlocksIn(g, first, first+int(here), used); err != nil {
			return fmt.Errorf("group %d: %w", g, err)
		}
		s.first += blockNumber(here)
		s.count -= here
	}
	return nil
}

func (f *FS) markBlocksIn(g uint32, first, end int, used bool) error {
	d, err := f.descriptor(g)
	if err != nil {
		return err
	}
	bitmap, err := f.editBlockBitmap(g, &d)
	if err != nil {
		return err
	}
	for i := first; i < end; i++ {
		if bit(bitmap, i) == used {
			return fmt.Errorf("%w: block %d of the group is in two files, or a file's but free", ErrCorrupt, i)
		}
	}
	if used {
		setBits(bitmap, first, end)
	} else {
		clearBits(bitmap, first, end)
	}
	return f.sealBlockBitmap(g, &d, bitmap)
}

// allocateInode takes the first free inode, from the group of parent on.
func (f *FS) allocateInode(parent inodeNumber, dir bool) (inodeNumber, error) {
	start := uint32(parent-1) / f.super.InodesPerGroup
	for i := range f.groups {
		g := uint32((uint64(start) + uint64(i)) % uint64(f.groups))
		if f.roomIn(g).inodes == 0 {
			continue
		}
		n, err := f.allocateInodeIn(g, dir)
		if err != nil {
			return 0, fmt.Errorf("group %d: %w", g, err)
		}
		if n != 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: all %d inodes are in use", ErrNoSpace, f.super.Inodes)
}

// allocateInodeIn takes the first free inode of group g; 0 if there is none.
func (f *FS) allocateInodeIn(g uint32, dir bool) (inodeNumber, error) {
	d, err := f.descriptor(g)
	if err != nil {
		return 0, err
	}
	bitmap, err := f.editInodeBitmap(&d)
	if err != nil {
		return 0, err
	}
	perGroup := int(f.super.InodesPerGroup)
	first := max(0, int(f.super.FirstInode)-1-int(g)*perGroup) // behind the reserved ones
	for i := first; i < perGroup; i++ {
		if bit(bitmap, i) {
			continue
		}
		setBits(bitmap, i, i+1)
		if dir {
			d.setDirs(d.dirs() + 1)
		}
		// The first free one is never behind the first unused one, so nothing
		// uninitialised is left before it.
		if f.hasDescriptorSums() {
			d.setUnusedInodes(min(d.unusedInodes(), perGroup-i-1))
		}
		return inodeNumber(g)*inodeNumber(perGroup) + inodeNumber(i) + 1, f.sealInodeBitmap(g, &d, bitmap)
	}
	return 0, nil
}

func (f *FS) freeInode(n inodeNumber, dir bool) error {
	g, i := uint32(n-1)/f.super.InodesPerGroup, int(uint32(n-1)%f.super.InodesPerGroup)
	d, err := f.descriptor(g)
	if err != nil {
		return err
	}
	bitmap, err := f.editInodeBitmap(&d)
	if err != nil {
		return err
	}
	if !bit(bitmap, i) || dir && d.dirs() == 0 {
		return fmt.Errorf("%w: inode %d is in use but free", ErrCorrupt, n)
	}
	clearBits(bitmap, i, i+1)
	if dir {
		d.setDirs(d.dirs() - 1)
	}
	return f.sealInodeBitmap(g, &d, bitmap)
}

// An Extent is a range of bytes, of the device or of a file.
type Extent struct{ Offset, Length int64 }

// FreeExtents yields the free parts of the device, in order. It stops after the first
// error.
func (f *FS) FreeExtents() iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for g := range f.groups {
			f.cache.trim()
			d, err := f.descriptor(g)
			if err != nil {
				yield(Extent{}, err)
				return
			}
			if d.freeBlocks() == 0 {
				continue
			}
			bitmap, err := f.blockBitmap(g, &d)
			if err != nil {
				yield(Extent{}, fmt.Errorf("group %d: %w", g, err))
				return
			}
			for s := range f.freeRuns(g, bitmap) {
				size := int64(f.blockSize)
				if !yield(Extent{int64(s.first) * size, int64(s.count) * size}, nil) {
					return
				}
			}
		}
	}
}
