package fat

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// sectorSize is the unit, in bytes, of which a card writes all or nothing. The file
// system's own sectors may be larger.
const sectorSize = minSector

// A draft is a device that keeps what is written to it in memory.
type draft struct {
	SyncDevice
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

// A sectorChange is the new content of a sector.
type sectorChange struct {
	offset   int64
	old, new []byte
}

// changes returns the sectors in which the draft differs from its device, by
// offset.
func (d draft) changes() ([]sectorChange, error) {
	var changed []sectorChange
	for offset, data := range d.sectors {
		old := make([]byte, sectorSize)
		if n, err := d.ReadAt(old, offset); n < sectorSize {
			return nil, fmt.Errorf("sector at %d: %w", offset, err)
		}
		if !bytes.Equal(old, data) {
			changed = append(changed, sectorChange{offset, old, data})
		}
	}
	slices.SortFunc(changed, func(a, b sectorChange) int { return cmp.Compare(a.offset, b.offset) })
	return changed, nil
}

// A layout says what the sectors of a FAT file system are for.
type layout struct {
	tables    int64 // where the file allocation tables start
	tablesEnd int64
	rootEnd   int64 // of FAT16's root directory; FAT32's is where root says
	root      []Extent
}

// layout returns where the parts of the file system are.
func (fsys *FS) layout() (layout, error) {
	g := fsys.table.geometry
	l := layout{tables: g.fatStart, tablesEnd: g.rootStart, rootEnd: g.rootStart + int64(g.rootSize)}
	if !g.fat32 {
		return l, nil
	}
	var err error
	l.root, err = fsys.Extents(".")
	return l, err
}

func (l layout) isTable(s sectorChange) bool { return s.offset >= l.tables && s.offset < l.tablesEnd }

func (l layout) isRoot(s sectorChange) bool {
	return s.offset >= l.tablesEnd && s.offset < l.rootEnd ||
		slices.ContainsFunc(l.root, func(e Extent) bool { return s.offset >= e.Offset && s.offset < e.Offset+e.Length })
}

// adding puts the changes that make a new file in order, in groups of which
// each has to be safe before the next begins: what no directory leads to yet, then
// the root directory. Where that grows, its chain leads to the new cluster only when
// the cluster has been taken.
func (l layout) adding(changed []sectorChange) [][]sectorChange {
	var hidden, links []sectorChange
	var groups [][]sectorChange
	for _, s := range changed {
		switch {
		case l.isRoot(s):
			groups = append(groups, []sectorChange{s}) // a long name before the entry that it is for
		case l.isTable(s) && s.relinks():
			links = append(links, s)
		default:
			hidden = append(hidden, s)
		}
	}
	return slices.Concat([][]sectorChange{hidden, links}, groups)
}

// removing puts in order the changes that remove a file, or put one in the
// place of another: entries that go, then those that change, then the tables.
// At no time do two entries lead to one chain, or an entry to free clusters; at worst,
// clusters stay marked as used that no file uses.
func (l layout) removing(changed []sectorChange) [][]sectorChange {
	var tables, changing []sectorChange
	var groups [][]sectorChange
	for _, s := range slices.Backward(changed) {
		switch {
		case !l.isRoot(s):
			tables = append(tables, s)
		case s.deletes():
			groups = append(groups, []sectorChange{s}) // an entry before its long name
		default:
			changing = append(changing, s)
		}
	}
	return append(groups, changing, tables)
}

// relinks says whether a sector of a table changes clusters that are in use.
// It takes FAT16's entries in pairs, which is as good: there no directory
// grows.
func (s sectorChange) relinks() bool {
	for i := 0; i < sectorSize; i += 4 {
		old := binary.LittleEndian.Uint32(s.old[i:])
		if old != 0 && old != binary.LittleEndian.Uint32(s.new[i:]) {
			return true
		}
	}
	return false
}

// deletes says whether a sector of a directory loses an entry.
func (s sectorChange) deletes() bool {
	const deleted = 0xe5
	for i := 0; i < sectorSize; i += direntSize {
		if s.new[i] == deleted && s.old[i] != deleted {
			return true
		}
	}
	return false
}
