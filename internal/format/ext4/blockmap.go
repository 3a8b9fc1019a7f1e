package ext4

import (
	"encoding/binary"
	"fmt"
)

// The mapping of ext2 and ext3, in inodes without the extents flag: "Direct/
// Indirect Block Addressing" of the format's documentation.

// directBlocks is the number of pointers in the inode that lead to data. Three
// more lead to blocks of pointers, of the first, second and third order.
const directBlocks = 12

type blockMapWalk struct {
	f       *FS
	m       *mapping
	logical uint64
	total   uint64
	seen    map[blockNumber]bool // nodes: each is in the tree once
}

func (f *FS) readBlockMap(m *mapping, ino *inode) error {
	w := blockMapWalk{f: f, m: m, seen: map[blockNumber]bool{}}
	le := binary.LittleEndian
	for i := range directBlocks {
		if err := w.pointer(le.Uint32(ino.Block[4*i:]), 0); err != nil {
			return err
		}
	}
	for order := range 3 {
		if err := w.pointer(le.Uint32(ino.Block[4*(directBlocks+order):]), order+1); err != nil {
			return err
		}
	}
	return nil
}

// pointer follows a pointer to data (order 0) or to a block of pointers.
func (w *blockMapWalk) pointer(pointer uint32, order int) error {
	perBlock, covered := uint64(w.f.blockSize/4), uint64(1)
	for range order {
		covered *= perBlock
	}
	if pointer == 0 {
		w.logical += covered
		return nil
	}
	n := blockNumber(pointer)
	if order == 0 {
		w.logical++
		return w.f.add(w.m, extent{logical: w.logical - 1, physical: span{n, 1}}, &w.total)
	}
	if err := w.f.checkData(span{n, 1}); err != nil {
		return err
	}
	if w.seen[n] {
		return fmt.Errorf("%w: block %d is twice in the map of a file", ErrCorrupt, n)
	}
	w.seen[n] = true
	block, err := w.f.block(n)
	if err != nil {
		return err
	}
	w.m.nodes = append(w.m.nodes, n)
	for i := range int(perBlock) {
		if err := w.pointer(binary.LittleEndian.Uint32(block[4*i:]), order-1); err != nil {
			return err
		}
	}
	return nil
}
