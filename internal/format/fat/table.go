package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// firstCluster is the number of the first cluster: entries 0 and 1 of a FAT
// hold flags.
const firstCluster = 2

// Values of a cluster's entry in the FAT, in FAT32's numbers.
const (
	free       = 0
	bad        = 0x0ffffff7
	endOfChain = 0x0fffffff // and everything above bad
	mask32     = 0x0fffffff // the upper four bits are reserved
)

// A table is a file allocation table. The entry of a cluster is in memory once load has
// read it: most entries are of free clusters, and a Pi that opens its boot partition has
// a slow card and a slow core.
type table struct {
	geometry
	dev     io.ReaderAt
	raw     []byte
	loaded  []bool       // by block of raw
	shift   int          // the block that cluster c is in is c >> shift
	changed map[int]bool // sectors of raw
	taken   int          // clusters, less those that were freed, since the table was opened
	last    uint32       // the cluster that was allocated last
}

// tableBlock is how much of a table is read at a time, in bytes: a multiple of all
// sector sizes.
const tableBlock = 64 << 10

func openTable(dev io.ReaderAt, g geometry) (*table, error) {
	t := &table{geometry: g, dev: dev, raw: make([]byte, g.tableSize()), changed: map[int]bool{}}
	t.loaded = make([]bool, (len(t.raw)+tableBlock-1)/tableBlock)
	t.shift = bits.TrailingZeros(uint(tableBlock / g.width()))
	return t, t.load(0)
}

// load reads the entries of cluster c and its neighbours, if that has not been done.
func (t *table) load(c uint32) error {
	i := int(c >> t.shift)
	if t.loaded[i] {
		return nil
	}
	return t.loadBlock(i)
}

func (t *table) loadBlock(i int) error {
	start := i * tableBlock
	block := t.raw[start:min(start+tableBlock, len(t.raw))]
	if n, err := t.dev.ReadAt(block, t.fatStart+int64(start)); n < len(block) {
		return fmt.Errorf("FAT: %w", err)
	}
	t.loaded[i] = true
	return nil
}

// all yields the number of every cluster, once it is loaded.
func (t *table) all() iter.Seq2[uint32, error] {
	return func(yield func(uint32, error) bool) {
		for c := uint32(firstCluster); t.valid(c); c++ {
			if err := t.load(c); !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// countFree returns the number of free clusters. It takes sectors that are all zero, as
// most are, as a whole.
func (t *table) countFree() (n int, err error) {
	zero := make([]byte, t.sectorSize)
	perSector := uint32(t.sectorSize / t.width())
	for c := uint32(firstCluster); t.valid(c); c++ {
		if err := t.load(c); err != nil {
			return 0, err
		}
		if c%perSector == 0 && t.valid(c+perSector-1) && bytes.Equal(t.raw[int(c)*t.width():][:t.sectorSize], zero) {
			n += int(perSector)
			c += perSector - 1
		} else if t.at(c) == free {
			n++
		}
	}
	return n, nil
}

// at returns what the table says of cluster c, which is loaded, in FAT32's numbers.
func (t *table) at(c uint32) uint32 {
	if t.fat32 {
		return binary.LittleEndian.Uint32(t.raw[4*c:]) & mask32
	}
	v := uint32(binary.LittleEndian.Uint16(t.raw[2*c:]))
	if v >= bad&0xffff {
		v |= mask32 &^ 0xffff
	}
	return v
}

func (t *table) set(c, v uint32) {
	offset := 2 * int(c)
	if t.fat32 {
		offset = 4 * int(c)
		old := binary.LittleEndian.Uint32(t.raw[offset:])
		binary.LittleEndian.PutUint32(t.raw[offset:], old&^mask32|v)
	} else {
		binary.LittleEndian.PutUint16(t.raw[offset:], uint16(v))
	}
	t.changed[offset/t.sectorSize] = true
}

// chain returns the clusters of the chain that starts at first.
func (t *table) chain(first uint32) ([]uint32, error) {
	var chain []uint32
	_, err := t.walk(first, gather(&chain))
	return chain, err
}

// gather makes a visit for walk that puts the clusters into chain.
func gather(chain *[]uint32) func(c uint32, n int) error {
	return func(c uint32, n int) error {
		for i := range uint32(n) {
			*chain = append(*chain, c+i)
		}
		return nil
	}
}

// walk calls visit with the clusters of the chain that starts at first, n that follow
// each other from c at a time, and returns how many there are.
func (t *table) walk(first uint32, visit func(c uint32, n int) error) (total int, err error) {
	for c := first; total == 0 || c <= bad; {
		run, next, err := t.run(c)
		switch total += run; {
		case err != nil:
			return total, err
		case next == free:
			return total, fmt.Errorf("%w: cluster chain %d leads to cluster %d, which is not in use", ErrCorrupt, first, c+uint32(run))
		case total > int(t.clusters):
			return total, fmt.Errorf("%w: cluster chain %d is a loop", ErrCorrupt, first)
		}
		if err := visit(c, run); err != nil {
			return total, err
		}
		c = next
	}
	return total, nil
}

// run returns how many clusters of a chain follow each other from c on, and what the
// last of them leads to: free if that is not in use.
func (t *table) run(c uint32) (n int, next uint32, err error) {
	for {
		if !t.valid(c) {
			return n, free, nil
		}
		if err := t.load(c); err != nil {
			return n, free, err
		}
		if t.fat32 { // a Pi's kernel takes thousands of clusters, most of which follow each other
			last := min((c>>t.shift+1)<<t.shift, t.clusters+firstCluster) - 1
			for c < last && binary.LittleEndian.Uint32(t.raw[4*c:])&mask32 == c+1 {
				c, n = c+1, n+1
			}
		}
		switch next = t.at(c); next {
		case free:
			return n, free, nil
		case c + 1:
			c, n = next, n+1
		default:
			return n + 1, next, nil
		}
	}
}

// reserve says whether n clusters can be allocated. It loads those that will be.
func (t *table) reserve(n int) error {
	found := 0
	for c, err := range t.behindLast() {
		if err != nil {
			return err
		}
		if found >= n {
			return nil
		}
		if t.at(c) == free {
			found++
		}
	}
	if found < n {
		return fmt.Errorf("%w: want %d clusters of %d bytes, %d are free", ErrNoSpace, n, t.clusterSize, found)
	}
	return nil
}

// behindLast yields the number of every cluster, once it is loaded, in the order in which
// clusters are to be allocated: as in Linux, beginning behind the cluster that was
// allocated last.
func (t *table) behindLast() iter.Seq2[uint32, error] {
	return func(yield func(uint32, error) bool) {
		c := t.last
		for range t.clusters {
			if c++; !t.valid(c) {
				c = firstCluster
			}
			if err := t.load(c); !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// extend appends n free clusters to a chain, which are reserved.
func (t *table) extend(chain []uint32, n int) []uint32 {
	for c := range t.behindLast() {
		if n == 0 {
			break
		}
		if t.at(c) != free {
			continue
		}
		if len(chain) > 0 {
			t.set(chain[len(chain)-1], c)
		}
		t.set(c, endOfChain)
		chain = append(chain, c)
		t.last = c
		t.taken++
		n--
	}
	return chain
}

// truncate frees all clusters of a chain but the first n.
func (t *table) truncate(chain []uint32, n int) []uint32 {
	for _, c := range chain[n:] {
		t.set(c, free)
		t.taken--
	}
	if n > 0 && n < len(chain) {
		t.set(chain[n-1], endOfChain)
	}
	return chain[:n]
}

// resize makes a chain n clusters long.
func (t *table) resize(chain []uint32, n int) []uint32 {
	if n < len(chain) {
		return t.truncate(chain, n)
	}
	return t.extend(chain, n-len(chain))
}

// write brings the changed sectors to every FAT.
func (t *table) write(dev io.WriterAt) error {
	for i := range t.fats {
		for _, s := range slices.Sorted(maps.Keys(t.changed)) {
			offset := s * t.sectorSize
			at := t.fatStart + int64(i)*t.fatSize + int64(offset)
			if _, err := dev.WriteAt(t.raw[offset:offset+t.sectorSize], at); err != nil {
				return fmt.Errorf("FAT %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// clean says whether the flags in entry 1 call the file system unmounted and
// free of I/O errors.
func (t *table) clean() bool {
	if t.fat32 {
		const flags = 3 << 26
		return binary.LittleEndian.Uint32(t.raw[4:])&flags == flags
	}
	const flags = 3 << 14
	return binary.LittleEndian.Uint16(t.raw[2:])&flags == flags
}

// clustersFor is the number of clusters that n bytes take.
func (g geometry) clustersFor(n int64) int {
	return int((n + int64(g.clusterSize) - 1) / int64(g.clusterSize))
}
