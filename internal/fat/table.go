package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

// firstCluster is the number of the first cluster: entries 0 and 1 of a FAT
// hold flags.
const firstCluster = 2

// What the FAT says of a cluster, in FAT32's numbers.
const (
	free       = 0
	bad        = 0x0ffffff7
	endOfChain = 0x0fffffff // and everything above bad
	mask32     = 0x0fffffff // the upper four bits belong to somebody else
)

// A table is a file allocation table in memory.
type table struct {
	geometry
	raw     []byte
	changed map[int]bool // sectors of raw
	free    uint32       // number of free clusters
	last    uint32       // the cluster that was allocated last
}

func readTable(dev io.ReaderAt, g geometry) (*table, error) {
	t := &table{geometry: g, raw: make([]byte, g.tableSize()), changed: map[int]bool{}}
	if n, err := dev.ReadAt(t.raw, g.fatStart+int64(g.activeFAT)*g.fatSize); n < len(t.raw) {
		return nil, fmt.Errorf("FAT: %w", err)
	}
	t.countFree()
	return t, nil
}

// all yields the number of every cluster.
func (t *table) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for c := uint32(firstCluster); t.valid(c); c++ {
			if !yield(c) {
				return
			}
		}
	}
}

// countFree takes sectors that are all zero, as most are, as a whole: a Pi that opens
// its boot partition has a slow core.
func (t *table) countFree() {
	zero := make([]byte, t.sectorSize)
	perSector := uint32(t.sectorSize / t.width())
	for c := uint32(firstCluster); t.valid(c); c++ {
		if c%perSector == 0 && t.valid(c+perSector-1) && bytes.Equal(t.raw[int(c)*t.width():][:t.sectorSize], zero) {
			t.free += perSector
			c += perSector - 1
		} else if t.at(c) == free {
			t.free++
		}
	}
}

// at returns what the table says of cluster c, in FAT32's numbers.
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
	for c := first; len(chain) == 0 || c <= bad; c = t.at(c) {
		if !t.valid(c) || t.at(c) == free {
			return nil, fmt.Errorf("%w: cluster chain %d leads to cluster %d, which is not in use", ErrCorrupt, first, c)
		}
		if len(chain) == int(t.clusters) {
			return nil, fmt.Errorf("%w: cluster chain %d is a loop", ErrCorrupt, first)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// extend appends n free clusters to a chain; the caller knows that there are so
// many. Like Linux it looks for them behind the one that was allocated last.
func (t *table) extend(chain []uint32, n int) []uint32 {
	for c := t.last; n > 0; {
		c++
		if !t.valid(c) {
			c = firstCluster
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
		t.free--
		n--
	}
	return chain
}

// truncate frees all clusters of a chain but the first n.
func (t *table) truncate(chain []uint32, n int) []uint32 {
	for _, c := range chain[n:] {
		t.set(c, free)
		t.free++
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

// write brings the changed sectors to every FAT that is in use.
func (t *table) write(dev io.WriterAt) error {
	for i := range t.fats {
		if !t.mirrored && i != t.activeFAT {
			continue
		}
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
