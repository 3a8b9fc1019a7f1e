package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// "Hash Tree Directories" of the format's documentation. Blocks of entries are
// the leaves of a tree that is ordered by the hashes of names. To programs that do not
// know them, its nodes look like unused entries.

// An indexNode is a block of pairs of hash and block number, the first pair
// of which has room for limit and count in place of a hash.
type indexNode struct {
	n     uint32 // number of the block in its directory
	block []byte
	off   int // of the first pair
	at    int // pair that leads on to what was looked for
}

const (
	rootPairs    = 32 // offset: "." (12 bytes), ".." (12), indexRoot (8)
	nodePairs    = 8  // offset: an unused entry
	indexRootOff = 24
	pairSize     = 8
	indexTail    = 8 // at the end if there are checksums; the second half is it
	childMask    = 0x0fffffff
)

// An indexRoot is struct dx_root_info, behind the entry "..".
type indexRoot struct {
	Reserved            uint32
	Version, Length     uint8
	Levels, UnusedFlags uint8
}

func (x *indexNode) pair(i int) []byte { return x.block[x.off+i*pairSize:][:pairSize] }
func (x *indexNode) limit() int        { return int(binary.LittleEndian.Uint16(x.pair(0))) }
func (x *indexNode) count() int        { return int(binary.LittleEndian.Uint16(x.pair(0)[2:])) }
func (x *indexNode) setCount(n int)    { binary.LittleEndian.PutUint16(x.pair(0)[2:], uint16(n)) }

func (x *indexNode) hash(i int) uint32 {
	if i == 0 {
		return 0
	}
	return binary.LittleEndian.Uint32(x.pair(i))
}

func (x *indexNode) child(i int) uint32 {
	return binary.LittleEndian.Uint32(x.pair(i)[4:]) & childMask
}

// search is the last pair whose hash is not above hash.
func (x *indexNode) search(hash uint32) int {
	i := 1
	for i < x.count() && x.hash(i) <= hash {
		i++
	}
	return i - 1
}

// insert adds a pair behind the one at x.at.
func (x *indexNode) insert(hash, child uint32) {
	count := x.count()
	copy(x.block[x.off+(x.at+2)*pairSize:x.off+(count+1)*pairSize], x.block[x.off+(x.at+1)*pairSize:])
	binary.LittleEndian.PutUint32(x.pair(x.at+1), hash)
	binary.LittleEndian.PutUint32(x.pair(x.at + 1)[4:], child)
	x.setCount(count + 1)
}

// sum computes the checksum of x and where it belongs.
func (x *indexNode) sum(seed uint32) (at int, sum uint32, ok bool) {
	tail := x.off + x.limit()*pairSize
	if x.count() > x.limit() || tail+indexTail > len(x.block) {
		return 0, 0, false
	}
	sum = crc32c(seed, x.block[:x.off+x.count()*pairSize])
	sum = crc32c(crc32c(sum, x.block[tail:][:4]), []byte{0, 0, 0, 0})
	return tail + 4, sum, true
}

// indexed says whether d has an index that Linux would use. Without one, all entries can
// still be found by a search of every block.
func (d *directory) indexed() bool {
	return d.ino.Flags&flagIndex != 0 && d.f.super.has(featureDirIndex)
}

// indexNode is block n if it is a node of an index.
func (d *directory) indexNode(n uint32, block []byte) (x indexNode, ok bool) {
	if !d.indexed() {
		return x, false
	}
	if n == 0 {
		return indexNode{n: n, block: block, off: rootPairs}, true
	}
	le := binary.LittleEndian
	if le.Uint32(block) == 0 && int(le.Uint16(block[4:])) == len(block) {
		return indexNode{n: n, block: block, off: nodePairs}, true
	}
	return x, false
}

// pairLimit is the number of pairs that a node has room for.
func (d *directory) pairLimit(off int) int {
	room := d.f.blockSize - off
	if d.hasSums() {
		room -= indexTail
	}
	return room / pairSize
}

// node reads block n as a node of the index.
func (d *directory) node(n uint32) (x indexNode, err error) {
	block, err := d.block(n)
	if err != nil {
		return x, err
	}
	x, ok := d.indexNode(n, block)
	if !ok {
		return x, d.errorf(n, "not a node of the index")
	}
	if x.limit() != d.pairLimit(x.off) || x.count() < 1 || x.count() > x.limit() {
		return x, d.errorf(n, "index node with %d of %d entries, room for %d", x.count(), x.limit(), d.pairLimit(x.off))
	}
	return x, nil
}

// index reads the root of the index.
func (d *directory) index() (x indexNode, root indexRoot, err error) {
	if x, err = d.node(0); err != nil {
		return x, root, err
	}
	if _, err := binary.Decode(x.block[indexRootOff:], binary.LittleEndian, &root); err != nil {
		return x, root, err
	}
	if root.Length != 8 || root.Reserved != 0 || root.UnusedFlags&1 != 0 || int(root.Levels) > d.maxLevels() {
		return x, root, d.errorf(0, "index root %+v", root)
	}
	if root.Version > hashTEA {
		return x, root, fmt.Errorf("directory %d: hash version %d: %w", d.ino.number, root.Version, errors.ErrUnsupported)
	}
	return x, root, nil
}

// maxLevels is how many levels of nodes there may be below the root.
func (d *directory) maxLevels() int {
	if d.f.super.has(featureLargeDir) {
		return 2
	}
	return 1
}

func (d *directory) hasher(version uint8) hasher {
	return hasher{version, d.f.super.Flags&flagUnsignedHash != 0, d.f.super.HashSeed}
}

// findIndexed finds the entry of a name in the leaves that its hash leads to.
func (d *directory) findIndexed(name string) (slot, error) {
	x, root, err := d.index()
	if err != nil {
		return slot{}, err
	}
	l := indexLookup{d: d, name: name, hash: d.hasher(root.Version).hash([]byte(name)), budget: int(d.count)}
	ok, err := l.below(x, int(root.Levels))
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	return l.found, err
}

type indexLookup struct {
	d      *directory
	name   string
	hash   uint32
	budget int // blocks left to visit: none twice
	found  slot
}

// below looks for the hash in the blocks that x leads to: more than one block if names
// with the same hash did not fit into one.
func (l *indexLookup) below(x indexNode, levels int) (bool, error) {
	start := x.search(l.hash)
	for i := start; i < x.count() && (i == start || x.hash(i)&^1 == l.hash); i++ {
		if l.budget--; l.budget < 0 {
			return false, l.d.errorf(x.n, "index leads to more blocks than there are")
		}
		ok, err := l.visit(x.child(i), levels)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (l *indexLookup) visit(n uint32, levels int) (ok bool, err error) {
	if levels == 0 {
		l.found, ok, err = l.d.findIn(n, l.name)
		return ok, err
	}
	x, err := l.d.node(n)
	if err != nil {
		return false, err
	}
	return l.below(x, levels-1)
}
