package ext4

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// An extent maps blocks of a file to blocks of the device.
type extent struct {
	logical   uint64
	physical  span
	unwritten bool // reads as zeros
}

func (e extent) end() uint64 { return e.logical + e.physical.count }

// A mapping is where the content of a file lies.
type mapping struct {
	extents []extent
	nodes   []blockNumber // hold the mapping itself
}

func (m *mapping) blocks() (n uint64) {
	for _, e := range m.extents {
		n += e.physical.count
	}
	return n
}

// after is the number of the first extent that ends behind block n of the file.
func (m *mapping) after(n uint64) int {
	i, _ := slices.BinarySearchFunc(m.extents, n, func(e extent, n uint64) int {
		if e.end() <= n {
			return -1
		}
		return 1
	})
	return i
}

// append adds e, which comes later in the file than all others, joined with
// the last one where an extent can hold both.
func (m *mapping) append(e extent) {
	if last := len(m.extents) - 1; last >= 0 {
		l := &m.extents[last]
		if l.end() == e.logical && l.physical.end() == e.physical.first && l.unwritten == e.unwritten {
			l.physical.count += e.physical.count
			return
		}
	}
	m.extents = append(m.extents, e)
}

// An extentHeader is struct ext4_extent_header, at the start of each node.
type extentHeader struct {
	Magic, Entries, Max, Depth uint16
	Generation                 uint32
}

const (
	extentMagic      = 0xf30a
	extentHeaderSize = 12
	extentSize       = 12 // of struct ext4_extent and struct ext4_extent_idx
	maxExtentDepth   = 5
	maxExtentBlocks  = 1 << 15 // in one extent; more in the length field mean unwritten
	maxLogical       = 1 << 32
)

// hasMapping says whether ino has its content in blocks of its own.
func (f *FS) hasMapping(ino *inode) bool {
	switch {
	case ino.is(typeRegular), ino.is(typeDir):
		return true
	case !ino.is(typeLink):
		return false
	}
	sectors := uint64(ino.SectorsHigh)<<32 | uint64(ino.SectorsLow)
	if ino.xattrBlock() != 0 {
		sectors -= uint64(f.blockSize / sectorSize)
	}
	return sectors != 0
}

// mapping reads where the content of ino lies.
func (f *FS) mapping(ino *inode) (m mapping, err error) {
	if ino.Flags&flagExtents == 0 {
		err = f.readBlockMap(&m, ino)
	} else {
		err = f.readExtents(&m, ino, ino.Block[:], -1)
	}
	if err != nil {
		return m, fmt.Errorf("inode %d: %w", ino.number, err)
	}
	return m, nil
}

// add appends e if it can be true. The sum of all extents is bounded by the
// size of the file system, which bounds the work on a file with wrong ones.
func (f *FS) add(m *mapping, e extent, total *uint64) error {
	if err := f.checkData(e.physical); err != nil {
		return err
	}
	if e.physical.count == 0 {
		return fmt.Errorf("%w: extent of no blocks", ErrCorrupt)
	}
	if last := len(m.extents) - 1; last >= 0 && e.logical < m.extents[last].end() || e.end() > maxLogical {
		return fmt.Errorf("%w: extent of block %d of the file is out of order", ErrCorrupt, e.logical)
	}
	if *total += e.physical.count; *total > uint64(f.blocks) {
		return fmt.Errorf("%w: more blocks than the file system has", ErrCorrupt)
	}
	m.append(e)
	return nil
}

// readExtents reads the extents in a node and those below it. A depth of -1 is
// that of the root, in the inode, which may be any.
func (f *FS) readExtents(m *mapping, ino *inode, node []byte, depth int) error {
	w := extentWalk{f: f, m: m, ino: ino}
	return w.node(node, depth)
}

type extentWalk struct {
	f     *FS
	m     *mapping
	ino   *inode
	total uint64
}

func (w *extentWalk) node(node []byte, depth int) error {
	h, err := checkExtentHeader(node, depth)
	if err != nil {
		return err
	}
	for i := range int(h.Entries) {
		entry := node[extentHeaderSize+i*extentSize:][:extentSize]
		if h.Depth > 0 {
			err = w.child(entry, int(h.Depth)-1)
		} else {
			err = w.f.add(w.m, decodeExtent(entry), &w.total)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkExtentHeader(node []byte, depth int) (h extentHeader, err error) {
	if _, err := binary.Decode(node, binary.LittleEndian, &h); err != nil {
		return h, err
	}
	switch room := (len(node) - extentHeaderSize) / extentSize; {
	case h.Magic != extentMagic:
		return h, fmt.Errorf("%w: extent magic %#x, want %#x", ErrCorrupt, h.Magic, extentMagic)
	case int(h.Max) > room || h.Entries > h.Max || h.Depth > maxExtentDepth:
		return h, fmt.Errorf("%w: extent node of depth %d with %d of %d entries, room for %d", ErrCorrupt, h.Depth, h.Entries, h.Max, room)
	case depth >= 0 && int(h.Depth) != depth:
		return h, fmt.Errorf("%w: extent node of depth %d, want %d", ErrCorrupt, h.Depth, depth)
	case h.Entries == 0 && (depth >= 0 || h.Depth > 0):
		return h, fmt.Errorf("%w: extent node without entries", ErrCorrupt)
	}
	return h, nil
}

// child reads the node that an index entry names. No node without entries, no
// entry twice: so no walk is longer than the device.
func (w *extentWalk) child(entry []byte, depth int) error {
	le := binary.LittleEndian
	n := blockNumber(le.Uint16(entry[8:]))<<32 | blockNumber(le.Uint32(entry[4:]))
	if err := w.f.checkData(span{n, 1}); err != nil {
		return err
	}
	node, err := w.f.block(n)
	if err != nil {
		return err
	}
	if w.f.super.has(featureMetadataCsum) {
		tail := extentTail(node)
		if tail+4 > len(node) {
			return fmt.Errorf("%w: extent node %d has no room for a checksum", ErrCorrupt, n)
		}
		if got, want := le.Uint32(node[tail:]), crc32c(w.f.ownSeed(w.ino), node[:tail]); got != want {
			return fmt.Errorf("%w: extent node %d: checksum %#08x, want %#08x", ErrCorrupt, n, got, want)
		}
	}
	if w.total++; w.total > uint64(w.f.blocks) {
		return fmt.Errorf("%w: more blocks than the file system has", ErrCorrupt)
	}
	w.m.nodes = append(w.m.nodes, n)
	return w.node(node, depth)
}

// extentTail is the offset of the checksum of a node.
func extentTail(node []byte) int {
	return extentHeaderSize + int(binary.LittleEndian.Uint16(node[4:]))*extentSize
}

func decodeExtent(entry []byte) extent {
	le := binary.LittleEndian
	e := extent{logical: uint64(le.Uint32(entry))}
	e.physical.first = blockNumber(le.Uint16(entry[6:]))<<32 | blockNumber(le.Uint32(entry[8:]))
	e.physical.count = uint64(le.Uint16(entry[4:]))
	if e.physical.count > maxExtentBlocks {
		e.physical.count -= maxExtentBlocks
		e.unwritten = true
	}
	return e
}

// appendExtent appends e, which is not unwritten: we do not preallocate.
func appendExtent(node []byte, e extent) []byte {
	le := binary.LittleEndian
	node = le.AppendUint32(node, uint32(e.logical))
	node = le.AppendUint16(node, uint16(e.physical.count))
	node = le.AppendUint16(node, uint16(e.physical.first>>32))
	return le.AppendUint32(node, uint32(e.physical.first))
}

func appendIndex(node []byte, logical uint64, child blockNumber) []byte {
	le := binary.LittleEndian
	node = le.AppendUint32(node, uint32(logical))
	node = le.AppendUint32(node, uint32(child))
	node = le.AppendUint16(node, uint16(child>>32))
	return le.AppendUint16(node, 0)
}

// freeMapping frees all blocks of ino's content.
func (f *FS) freeMapping(ino *inode) error {
	m, err := f.mapping(ino)
	if err != nil {
		return err
	}
	for _, e := range m.extents {
		if err := f.freeBlocks(e.physical); err != nil {
			return fmt.Errorf("inode %d: %w", ino.number, err)
		}
	}
	for _, n := range m.nodes {
		if err := f.freeBlocks(span{n, 1}); err != nil {
			return fmt.Errorf("inode %d: %w", ino.number, err)
		}
	}
	f.clearMapping(ino)
	return nil
}

// clearMapping leaves ino with an empty extent tree.
func (f *FS) clearMapping(ino *inode) {
	ino.Flags = ino.Flags&^flagEOF | flagExtents
	ino.Block = [60]byte{}
	encodeNode(ino.Block[:], 0, nil, 4)
	f.setBlocks(ino, 0)
}

// encodeNode writes header and entries of a node.
func encodeNode(node []byte, depth int, entries []byte, limit int) {
	h := extentHeader{extentMagic, uint16(len(entries) / extentSize), uint16(limit), uint16(depth), 0}
	binary.Encode(node, binary.LittleEndian, h)
	copy(node[extentHeaderSize:], entries)
}

// setMapping makes m the mapping of ino. The tree is built anew, in the nodes
// it had before and as many more or less as it now takes.
func (f *FS) setMapping(ino *inode, m *mapping) error {
	b := treeBuilder{f: f, ino: ino, spare: m.nodes}
	var entries []byte
	var firsts []uint64
	for _, e := range splitLong(m.extents) {
		entries = appendExtent(entries, e)
		firsts = append(firsts, e.logical)
	}
	depth := 0
	for ; len(firsts) > 4; depth++ {
		var err error
		if entries, firsts, err = b.level(depth, entries, firsts); err != nil {
			return err
		}
	}
	for _, n := range b.spare {
		if err := f.freeBlocks(span{n, 1}); err != nil {
			return err
		}
	}
	m.nodes = b.used
	f.clearMapping(ino)
	encodeNode(ino.Block[:], depth, entries, 4)
	f.setBlocks(ino, m.blocks()+uint64(len(b.used)))
	return nil
}

// splitLong splits what is longer than an extent can be.
func splitLong(extents []extent) (split []extent) {
	for _, e := range extents {
		for e.physical.count > maxExtentBlocks {
			head := e
			head.physical.count = maxExtentBlocks
			split = append(split, head)
			e.logical += maxExtentBlocks
			e.physical.first += maxExtentBlocks
			e.physical.count -= maxExtentBlocks
		}
		split = append(split, e)
	}
	return split
}

type treeBuilder struct {
	f           *FS
	ino         *inode
	spare, used []blockNumber
}

// level puts entries, which begin at the logical blocks firsts, into nodes, and
// returns the entries that name these.
func (b *treeBuilder) level(depth int, entries []byte, firsts []uint64) (up []byte, upFirsts []uint64, err error) {
	limit := (b.f.blockSize - extentHeaderSize) / extentSize
	for len(firsts) > 0 {
		count := min(limit, len(firsts))
		n, err := b.block()
		if err != nil {
			return nil, nil, err
		}
		node := make([]byte, b.f.blockSize)
		encodeNode(node, depth, entries[:count*extentSize], limit)
		if b.f.super.has(featureMetadataCsum) {
			tail := extentTail(node)
			binary.LittleEndian.PutUint32(node[tail:], crc32c(b.f.ownSeed(b.ino), node[:tail]))
		}
		b.f.put(n, node)
		up = appendIndex(up, firsts[0], n)
		upFirsts = append(upFirsts, firsts[0])
		entries, firsts = entries[count*extentSize:], firsts[count:]
	}
	return up, upFirsts, nil
}

func (b *treeBuilder) block() (blockNumber, error) {
	if len(b.spare) == 0 {
		taken, err := b.f.allocate(b.f.home(b.ino), 1)
		if err != nil {
			return 0, err
		}
		b.spare = []blockNumber{taken[0].first}
	}
	n := b.spare[0]
	b.spare = b.spare[1:]
	b.used = append(b.used, n)
	return n, nil
}

// home is the best place for the content of ino to begin.
func (f *FS) home(ino *inode) blockNumber {
	return f.groupSpan(uint32(ino.number-1) / f.super.InodesPerGroup).first
}
