package fat

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// maxSlots is Linux's limit for a directory, 2 MiB.
const maxSlots = 65536

// A directory is one in memory. Those that were changed are written at Close.
type directory struct {
	self    *entry
	chain   []uint32 // nil for FAT16's root, which lies before the clusters
	raw     []byte
	end     int // number of slots before the end mark
	entries []*entry
	label   string // of the volume, found in the root only
	changed bool
}

// An entry is a file or directory.
type entry struct {
	dirent
	name  string
	short string     // the readable 8.3 name
	in    *directory // nil for the root
	first int        // slot where the long name starts
	slot  int        // of the dirent
	dir   *directory // what a directory holds, once it was read
}

func (d *directory) slotBytes(i int) []byte { return d.raw[i*direntSize:][:direntSize] }

// hasDots says whether the directory starts with "." and "..", as all but the root must.
func (d *directory) hasDots() bool {
	return decodeDirent(d.slotBytes(0)).Name == dotName && decodeDirent(d.slotBytes(1)).Name == dotDotName
}

// parse finds the entries in the slots.
func (d *directory) parse() error {
	d.end = len(d.raw) / direntSize
	var long longName
	for i := range d.end {
		switch slot := d.slotBytes(i); {
		case slot[0] == slotEnd:
			d.end = i
			return nil
		case slot[0] == slotDeleted:
			long = longName{}
		case slot[11]&attrMask == attrLong:
			long.add(slot)
		default:
			if err := d.parseEntry(i, &long); err != nil {
				return err
			}
			long = longName{}
		}
	}
	return nil
}

func (d *directory) parseEntry(i int, long *longName) error {
	e := &entry{dirent: decodeDirent(d.slotBytes(i)), in: d, first: i, slot: i}
	if e.Attr&attrVolume != 0 {
		d.label = shortLabel(e.Name)
		return nil
	}
	if e.Name == dotName || e.Name == dotDotName {
		return nil
	}
	e.short = shortString(e.Name, 0)
	e.name = shortString(e.Name, e.Case)
	name, slots := long.of(e.Name)
	e.first -= slots
	if isElement(name) {
		e.name = name
	}
	if !isElement(e.name) || !isElement(e.short) {
		return fmt.Errorf("%w: directory entry %d is called %q", ErrCorrupt, i, e.name)
	}
	d.entries = append(d.entries, e)
	return nil
}

// isElement says whether name can stand between slashes.
func isElement(name string) bool {
	return name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, "/\x00")
}

func shortLabel(raw [11]byte) string {
	return fromCodePage(raw[:])
}

// find returns the entry called name, long or short, or nil.
func (d *directory) find(name string) *entry {
	for _, e := range d.entries {
		if sameName(e.name, name) || sameName(e.short, name) {
			return e
		}
	}
	return nil
}

// update writes the entry into its slot; the root has none.
func (e *entry) update() {
	if e.in != nil {
		e.encode(e.in.slotBytes(e.slot))
		e.in.changed = true
	}
}

// delete gives the entry's slots free.
func (e *entry) delete() {
	for i := e.first; i <= e.slot; i++ {
		e.in.slotBytes(i)[0] = slotDeleted
	}
	e.in.changed = true
	e.in.entries = slices.DeleteFunc(e.in.entries, func(other *entry) bool { return other == e })
}

// A vacancy is a place for a new entry.
type vacancy struct {
	dir    *directory
	name   string
	short  alias
	at     int // first slot
	slots  int
	growth int // clusters that the directory lacks
}

// vacancy finds a place for an entry called name. If it is to replace the entry
// old, it may take over its alias.
func (fsys *FS) vacancy(d *directory, name string, old *entry) (vacancy, error) {
	if err := checkName(name); err != nil {
		return vacancy{}, err
	}
	v := vacancy{dir: d, name: name, short: d.unusedAlias(name, old), slots: 1}
	if v.long() {
		v.slots += longSlots(name)
	}
	v.at = d.gap(v.slots)
	lack := (v.at+v.slots)*direntSize - len(d.raw)
	if lack <= 0 {
		return v, nil
	}
	if d.chain == nil {
		return vacancy{}, fmt.Errorf("%w in the root directory of %d entries", ErrNoSpace, len(d.raw)/direntSize)
	}
	if v.at+v.slots > maxSlots {
		return vacancy{}, fmt.Errorf("%w in a directory of %d entries", ErrNoSpace, len(d.raw)/direntSize)
	}
	v.growth = fsys.table.clustersFor(int64(lack))
	return v, nil
}

// long says whether the entry needs a long name.
func (v vacancy) long() bool { return v.name != v.short.String() }

// unusedAlias returns an 8.3 name for name that no entry but old has.
func (d *directory) unusedAlias(name string, old *entry) alias {
	a := newAlias(name)
	if a.exact && !d.taken(a, old) {
		return a
	}
	for a = range a.numbered(name) {
		if !d.taken(a, old) {
			break // comes before the end: 65536 names are more than a directory holds
		}
	}
	return a
}

func (d *directory) taken(a alias, old *entry) bool {
	raw := a.bytes()
	return slices.ContainsFunc(d.entries, func(e *entry) bool { return e != old && e.Name == raw })
}

// gap returns the first of n unused slots in a row, of which the last ones may
// be missing yet.
func (d *directory) gap(n int) int {
	run := 0
	for i := range d.end {
		if d.raw[i*direntSize] != slotDeleted {
			run = 0
			continue
		}
		if run++; run == n {
			return i - n + 1
		}
	}
	return d.end - run
}

// occupy puts a new entry into its place. The caller has checked that there are clusters
// enough.
func (fsys *FS) occupy(v vacancy, rec dirent) *entry {
	d := v.dir
	if v.growth > 0 {
		d.chain = fsys.table.extend(d.chain, v.growth)
		d.raw = append(d.raw, make([]byte, v.growth*fsys.table.clusterSize)...)
	}
	rec.Name, rec.Case = v.short.bytes(), 0
	e := &entry{dirent: rec, name: v.name, short: v.short.String(), in: d, first: v.at, slot: v.at + v.slots - 1}
	if v.long() {
		copy(d.raw[v.at*direntSize:], encodeLong(v.name, rec.Name))
	}
	e.update()
	d.entries = append(d.entries, e)
	if next := v.at + v.slots; next > d.end {
		d.end = next
		if next*direntSize < len(d.raw) {
			d.raw[next*direntSize] = slotEnd
		}
	}
	return e
}
