package ext4

import (
	"cmp"
	"fmt"
	"slices"
)

// Where the blocks that hold no file lie: "Layout" and "Meta Block Groups" of
// the format's documentation.

// groupSpan is the blocks of group g.
func (f *FS) groupSpan(g uint32) span {
	first := blockNumber(f.super.FirstDataBlock) + blockNumber(g)*blockNumber(f.super.BlocksPerGroup)
	return span{first, uint64(min(blockNumber(f.super.BlocksPerGroup), f.super.blocks()-first))}
}

// groupOf is the group of block n and the block's number in it.
func (f *FS) groupOf(n blockNumber) (g uint32, within int) {
	n -= blockNumber(f.super.FirstDataBlock)
	perGroup := blockNumber(f.super.BlocksPerGroup)
	return uint32(n / perGroup), int(n % perGroup)
}

// hasSuper says whether group g begins with a superblock.
func (s *superblock) hasSuper(g uint32) bool {
	switch {
	case g == 0:
		return true
	case s.has(featureSparseSuper2):
		return g == s.BackupGroups[0] || g == s.BackupGroups[1]
	case g == 1 || !s.has(featureSparseSuper):
		return true
	}
	return isPower(g, 3) || isPower(g, 5) || isPower(g, 7)
}

func isPower(n, base uint32) bool {
	for n > 1 && n%base == 0 {
		n /= base
	}
	return n == 1
}

func (f *FS) descsPerBlock() uint32 { return uint32(f.blockSize / f.descSize) }

func (f *FS) descBlocks() uint32 { return (f.groups + f.descsPerBlock() - 1) / f.descsPerBlock() }

// inMetaBG says whether the descriptors of group g lie in g's own meta block
// group.
func (f *FS) inMetaBG(g uint32) bool {
	return f.super.has(featureMetaBG) && g/f.descsPerBlock() >= f.super.FirstMetaBG
}

// descriptorBlock is the block that holds the descriptor of group g.
func (f *FS) descriptorBlock(g uint32) blockNumber {
	i := g / f.descsPerBlock()
	if !f.inMetaBG(g) {
		return blockNumber(f.super.FirstDataBlock) + 1 + blockNumber(i)
	}
	first := i * f.descsPerBlock()
	n := f.groupSpan(first).first
	if f.super.hasSuper(first) {
		n++
	}
	return n
}

// head is the superblock and descriptors at the start of group g.
func (f *FS) head(g uint32) span {
	s, count := &f.super, uint64(0)
	super := s.hasSuper(g)
	if super {
		count = 1
	}
	switch within := g % f.descsPerBlock(); {
	case f.inMetaBG(g):
		if within == 0 || within == 1 || within == f.descsPerBlock()-1 {
			count++
		}
	case super && s.has(featureMetaBG):
		count += uint64(s.FirstMetaBG) + uint64(s.ReservedGDTBlocks)
	case super:
		count += uint64(f.descBlocks()) + uint64(s.ReservedGDTBlocks)
	}
	blocks := f.groupSpan(g)
	return span{blocks.first, min(count, blocks.count)}
}

// itableBlocks is the number of blocks of a group's inode table.
func (f *FS) itableBlocks() uint64 {
	bytes := uint64(f.super.InodesPerGroup) * uint64(f.super.InodeSize)
	return (bytes + uint64(f.blockSize) - 1) / uint64(f.blockSize)
}

// checkDescriptors reads all group descriptors and notes which blocks hold no
// files.
func (f *FS) checkDescriptors() error {
	if s := &f.super; s.has(featureMetaBG) && s.FirstMetaBG > f.descBlocks() {
		return fmt.Errorf("%w: first meta block group %d of %d", ErrCorrupt, s.FirstMetaBG, f.descBlocks())
	}
	var spans []span
	for g := range f.groups {
		d, err := f.descriptor(g)
		if err != nil {
			return fmt.Errorf("group %d: %w", g, err)
		}
		spans = append(spans, f.head(g), span{d.blockBitmap(), 1}, span{d.inodeBitmap(), 1}, span{d.inodeTable(), f.itableBlocks()})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, s := range spans {
		last := len(f.system) - 1
		switch {
		case s.count == 0:
		case last >= 0 && s.first < f.system[last].end():
			return fmt.Errorf("%w: block %d has two uses", ErrCorrupt, s.first)
		case last >= 0 && s.first == f.system[last].end():
			f.system[last].count += s.count
		default:
			f.system = append(f.system, s)
		}
	}
	return nil
}

// checkData checks that s may belong to a file.
func (f *FS) checkData(s span) error {
	if s.first < blockNumber(f.super.FirstDataBlock) || s.first >= f.blocks || s.count > uint64(f.blocks-s.first) {
		return fmt.Errorf("%w: blocks %d+%d of %d", ErrCorrupt, s.first, s.count, f.blocks)
	}
	if i := f.systemAfter(s.first); i < len(f.system) && f.system[i].first < s.end() {
		return fmt.Errorf("%w: blocks %d+%d in a file belong to the file system itself", ErrCorrupt, s.first, s.count)
	}
	return nil
}

// systemAfter is the index of the first span of f.system that ends behind n.
func (f *FS) systemAfter(n blockNumber) int {
	i, _ := slices.BinarySearchFunc(f.system, n, func(s span, n blockNumber) int {
		if s.end() <= n {
			return -1
		}
		return 1
	})
	return i
}
