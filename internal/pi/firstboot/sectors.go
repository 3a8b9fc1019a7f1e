package firstboot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"clusterctrl/internal/format/fat"
)

// sectorSize is what a card writes all of or nothing, in bytes.
const sectorSize = 512

// A device is a partition, or an image of one. What has been written is safe
// from a power cut once Sync returns.
type device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// A draft is a device that keeps what is written to it in memory.
type draft struct {
	device
	sectors map[int64][]byte // by offset
}

func (d draft) WriteAt(p []byte, off int64) (int, error) {
	if off%sectorSize != 0 || len(p)%sectorSize != 0 {
		return 0, fmt.Errorf("%d bytes at %d: want whole sectors of %d", len(p), off, sectorSize)
	}
	for at := 0; at < len(p); at += sectorSize {
		d.sectors[off+int64(at)] = bytes.Clone(p[at:][:sectorSize])
	}
	return len(p), nil
}

// A sector is to hold other bytes than it does.
type sector struct {
	offset   int64
	old, new []byte
}

// changes returns the sectors in which the draft differs from its device, by
// offset.
func (d draft) changes() ([]sector, error) {
	var changed []sector
	for offset, data := range d.sectors {
		old := make([]byte, sectorSize)
		if n, err := d.ReadAt(old, offset); n < sectorSize {
			return nil, fmt.Errorf("sector at %d: %w", offset, err)
		}
		if !bytes.Equal(old, data) {
			changed = append(changed, sector{offset, old, data})
		}
	}
	slices.SortFunc(changed, func(a, b sector) int { return cmp.Compare(a.offset, b.offset) })
	return changed, nil
}

// A layout says what the sectors of a FAT file system are for.
type layout struct {
	tables    int64 // where the file allocation tables start
	tablesEnd int64
	rootEnd   int64 // of FAT16's root directory; FAT32's is where root says
	root      []fat.Extent
}

// layoutOf reads a layout from the boot sector of a file system that package
// fat has found to be in order.
func layoutOf(dev io.ReaderAt, fsys *fat.FS) (layout, error) {
	raw := make([]byte, sectorSize)
	if n, err := dev.ReadAt(raw, 0); n < len(raw) {
		return layout{}, fmt.Errorf("boot sector: %w", err)
	}
	le := binary.LittleEndian
	perTable := int64(le.Uint16(raw[22:]))
	var l layout
	if perTable == 0 { // FAT32
		perTable = int64(le.Uint32(raw[36:]))
		var err error
		if l.root, err = fsys.Extents("."); err != nil {
			return layout{}, err
		}
	}
	reserved, tables := int64(le.Uint16(raw[14:])), int64(raw[16])
	l.tables = reserved * int64(le.Uint16(raw[11:]))
	l.tablesEnd = l.tables + tables*perTable*int64(le.Uint16(raw[11:]))
	l.rootEnd = l.tablesEnd + 32*int64(le.Uint16(raw[17:]))
	return l, nil
}

func (l layout) isTable(s sector) bool { return s.offset >= l.tables && s.offset < l.tablesEnd }

func (l layout) isRoot(s sector) bool {
	return s.offset >= l.tablesEnd && s.offset < l.rootEnd ||
		slices.ContainsFunc(l.root, func(e fat.Extent) bool { return s.offset >= e.Offset && s.offset < e.Offset+e.Length })
}

// adding puts the changes that make a new file in order, in groups of which
// each has to be safe before the next begins: what no directory leads to yet, then
// the root directory. Where that grows, its chain leads to the new cluster only when
// the cluster has been taken.
func (l layout) adding(changed []sector) [][]sector {
	var hidden, links []sector
	var groups [][]sector
	for _, s := range changed {
		switch {
		case l.isRoot(s):
			groups = append(groups, []sector{s}) // a long name before the entry that it is for
		case l.isTable(s) && s.relinks():
			links = append(links, s)
		default:
			hidden = append(hidden, s)
		}
	}
	return slices.Concat([][]sector{hidden, links}, groups)
}

// removing puts in order the changes that remove a file, or put one in the
// place of another: entries that go, then those that change, then the tables.
// At no time do two entries lead to one chain, or one to free clusters; at
// worst clusters are left that nobody uses.
func (l layout) removing(changed []sector) [][]sector {
	var tables, changing []sector
	var groups [][]sector
	for _, s := range slices.Backward(changed) {
		switch {
		case !l.isRoot(s):
			tables = append(tables, s)
		case s.deletes():
			groups = append(groups, []sector{s}) // an entry before its long name
		default:
			changing = append(changing, s)
		}
	}
	return append(groups, changing, tables)
}

// relinks says whether a sector of a table changes clusters that are in use.
// It takes FAT16's entries in pairs, which is as good: there no directory
// grows.
func (s sector) relinks() bool {
	for i := 0; i < sectorSize; i += 4 {
		old := binary.LittleEndian.Uint32(s.old[i:])
		if old != 0 && old != binary.LittleEndian.Uint32(s.new[i:]) {
			return true
		}
	}
	return false
}

// deletes says whether a sector of a directory loses an entry.
func (s sector) deletes() bool {
	const entrySize, deleted = 32, 0xe5
	for i := 0; i < sectorSize; i += entrySize {
		if s.new[i] == deleted && s.old[i] != deleted {
			return true
		}
	}
	return false
}
