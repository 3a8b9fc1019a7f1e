package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// addIndexed adds e to the leaf that its hash leads to, and splits that if it
// is full.
func (d *directory) addIndexed(e dirent) error {
	x, root, err := d.index()
	if err != nil {
		return err
	}
	h := d.hasher(root.Version)
	hash := h.hash(e.name)
	path := []indexNode{x}
	for level := 0; ; level++ {
		last := &path[level]
		last.at = last.search(hash)
		if level == int(root.Levels) {
			break
		}
		next, err := d.node(last.child(last.at))
		if err != nil {
			return err
		}
		path = append(path, next)
	}
	last := path[len(path)-1]
	leaf := last.child(last.at)
	if leaf == 0 || leaf >= d.count {
		return d.errorf(last.n, "index leads to block %d of %d", leaf, d.count)
	}
	if ok, err := d.addTo(leaf, e); ok || err != nil {
		return err
	}
	return d.splitLeaf(path, leaf, e, h)
}

// splitLeaf makes two leaves of one and e.
func (d *directory) splitLeaf(path []indexNode, leaf uint32, e dirent, h hasher) error {
	block, err := d.block(leaf)
	if err != nil {
		return err
	}
	entries := []dirent{e}
	for old, err := range dirents(slices.Clone(block[:d.usable()])) {
		if err != nil {
			return fmt.Errorf("directory %d, block %d: %w", d.ino.number, leaf, err)
		}
		if old.inode != 0 {
			entries = append(entries, old)
		}
	}
	if direntsSize(entries) <= d.usable() {
		return d.putEntries(leaf, entries) // was in pieces
	}
	slices.SortStableFunc(entries, func(a, b dirent) int { return cmp.Compare(h.hash(a.name), h.hash(b.name)) })
	half := splitPoint(entries)
	n, err := d.grow()
	if err != nil {
		return err
	}
	if err := d.putEntries(leaf, entries[:half]); err != nil {
		return err
	}
	if err := d.putEntries(n, entries[half:]); err != nil {
		return err
	}
	hash := h.hash(entries[half].name)
	if h.hash(entries[half-1].name) == hash {
		hash |= 1 // the leaf before has names of the same hash
	}
	return d.insertPair(path, hash, n)
}

// splitPoint is where to split entries, of which there are at least two, for
// both halves to take about the same room: less than a block each.
func splitPoint(entries []dirent) int {
	total, sum := direntsSize(entries), 0
	for i, e := range entries[:len(entries)-1] {
		size := direntSize(len(e.name))
		if sum+size/2 > total/2 && i > 0 {
			return i
		}
		sum += size
	}
	return len(entries) - 1
}

// insertPair adds a pair to the last node of path, behind the one that path
// leads through, and makes room for it where there is none.
func (d *directory) insertPair(path []indexNode, hash, child uint32) error {
	x := path[len(path)-1]
	if x.count() < x.limit() {
		return d.putPair(x, hash, child)
	}
	if len(path) == 1 {
		if err := d.deepen(&path); err != nil {
			return err
		}
		x = path[1]
		if x.count() < x.limit() {
			return d.putPair(x, hash, child)
		}
	}
	half := x.count() / 2
	right, err := d.newNode(x, half)
	if err != nil {
		return err
	}
	if err := d.insertPair(path[:len(path)-1], x.hash(half), right.n); err != nil {
		return err
	}
	if _, err := d.edit(x.n); err != nil {
		return err
	}
	x.setCount(half)
	if err := d.seal(x.n, x.block); err != nil {
		return err
	}
	if x.at >= half {
		right.at = x.at - half
		x = right
	}
	return d.putPair(x, hash, child)
}

func (d *directory) putPair(x indexNode, hash, child uint32) error {
	if _, err := d.edit(x.n); err != nil {
		return err
	}
	x.insert(hash, child)
	return d.seal(x.n, x.block)
}

// newNode makes a node of the pairs of x from number first on.
func (d *directory) newNode(x indexNode, first int) (indexNode, error) {
	n, err := d.grow()
	if err != nil {
		return indexNode{}, err
	}
	block := make([]byte, d.f.blockSize)
	putDirent(block, dirent{size: len(block)})
	y := indexNode{n: n, block: block, off: nodePairs}
	copy(y.block[y.off:], x.block[x.off+first*pairSize:x.off+x.count()*pairSize])
	binary.LittleEndian.PutUint16(y.pair(0), uint16(d.pairLimit(nodePairs)))
	y.setCount(x.count() - first)
	d.f.put(d.physical(n), block)
	return y, d.seal(n, block)
}

// deepen puts a node between the root, which is all of path, and what it led
// to.
func (d *directory) deepen(path *[]indexNode) error {
	x, root, err := d.index()
	if err != nil {
		return err
	}
	if int(root.Levels) >= d.maxLevels() {
		return fmt.Errorf("%w: the index of directory %d is full", ErrNoSpace, d.ino.number)
	}
	below, err := d.newNode(x, 0)
	if err != nil {
		return err
	}
	below.at = (*path)[0].at
	if _, err := d.edit(0); err != nil {
		return err
	}
	x.setCount(1)
	binary.LittleEndian.PutUint32(x.pair(0)[4:], below.n)
	x.block[indexRootOff+6] = root.Levels + 1
	*path = []indexNode{x, below}
	return d.seal(0, x.block)
}

// makeIndex turns a directory of one block into one with an index: its entries
// move to a second block.
func (d *directory) makeIndex() error {
	block, err := d.block(0)
	if err != nil {
		return err
	}
	var entries []dirent
	for e, err := range dirents(slices.Clone(block[:d.usable()])) {
		if err != nil {
			return fmt.Errorf("directory %d: %w", d.ino.number, err)
		}
		if e.inode != 0 {
			entries = append(entries, e)
		}
	}
	if len(entries) < 2 || string(entries[0].name) != "." || string(entries[1].name) != ".." {
		return d.errorf(0, "does not begin with . and ..")
	}
	version := d.f.super.HashVersion
	if version > hashTEA {
		return fmt.Errorf("hash version %d: %w", version, errors.ErrUnsupported)
	}
	n, err := d.grow()
	if err != nil {
		return err
	}
	if err := d.putEntries(n, entries[2:]); err != nil {
		return err
	}
	return d.putRoot(entries[:2], version, n)
}

// putRoot makes block 0 the root of an index that leads to the leaf n.
func (d *directory) putRoot(dots []dirent, version uint8, n uint32) error {
	block := make([]byte, d.f.blockSize)
	packDirents(block, dots)
	root := indexRoot{Version: version, Length: 8}
	if _, err := binary.Encode(block[indexRootOff:], binary.LittleEndian, root); err != nil {
		return err
	}
	x := indexNode{block: block, off: rootPairs}
	binary.LittleEndian.PutUint16(x.pair(0), uint16(d.pairLimit(rootPairs)))
	x.setCount(1)
	binary.LittleEndian.PutUint32(x.pair(0)[4:], n)
	d.ino.Flags |= flagIndex
	d.f.put(d.physical(0), block)
	return d.seal(0, block)
}
