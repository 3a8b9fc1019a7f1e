package ext4

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"iter"
	"syscall"
)

// A directory is a directory that is being looked at or changed.
type directory struct {
	f       *FS
	ino     *inode
	mapping mapping
	count   uint32 // of blocks
}

// A slot is where in a directory an entry lies.
type slot struct {
	block uint32 // number in the directory
	dirent
}

// directory reads where the blocks of directory ino lie.
func (f *FS) directory(ino *inode) (*directory, error) {
	if !ino.is(typeDir) {
		return nil, syscall.ENOTDIR
	}
	m, err := f.mapping(ino)
	if err != nil {
		return nil, err
	}
	count, mapped := uint64(ino.size())/uint64(f.blockSize), uint64(0)
	for _, e := range m.extents {
		if mapped >= count {
			break // the rest is preallocated
		}
		if e.logical != mapped || e.unwritten {
			return nil, fmt.Errorf("inode %d: %w: directory with a hole before block %d", ino.number, ErrCorrupt, e.logical)
		}
		mapped = e.end()
	}
	if ino.size()%int64(f.blockSize) != 0 || count == 0 || mapped < count {
		return nil, fmt.Errorf("inode %d: %w: directory of %d bytes has %d blocks", ino.number, ErrCorrupt, ino.size(), mapped)
	}
	return &directory{f, ino, m, uint32(count)}, nil
}

// physical is where block n of d, which it must have, lies.
func (d *directory) physical(n uint32) blockNumber {
	e := d.mapping.extents[d.mapping.after(uint64(n))]
	return e.physical.first + blockNumber(uint64(n)-e.logical)
}

// errorf says what is wrong with block n of d.
func (d *directory) errorf(n uint32, format string, args ...any) error {
	return fmt.Errorf("directory %d, block %d: %w: %s", d.ino.number, n, ErrCorrupt, fmt.Sprintf(format, args...))
}

func (d *directory) hasSums() bool { return d.f.super.has(featureMetadataCsum) }

// usable is how much of a block of entries can hold entries.
func (d *directory) usable() int {
	if d.hasSums() {
		return d.f.blockSize - direntTailSize
	}
	return d.f.blockSize
}

// block returns block n of d to be read only.
func (d *directory) block(n uint32) ([]byte, error) {
	if n >= d.count {
		return nil, d.errorf(n, "it has only %d", d.count)
	}
	block, err := d.f.block(d.physical(n))
	if err != nil || !d.hasSums() {
		return block, err
	}
	at, sum, ok := d.sum(n, block)
	if !ok {
		return nil, d.errorf(n, "no checksum")
	}
	if got := binary.LittleEndian.Uint32(block[at:]); got != sum {
		return nil, d.errorf(n, "checksum %#08x, want %#08x", got, sum)
	}
	return block, nil
}

// sum computes the checksum of block n and its place in the block.
func (d *directory) sum(n uint32, block []byte) (at int, sum uint32, ok bool) {
	if x, isIndex := d.indexNode(n, block); isIndex {
		return x.sum(d.f.ownSeed(d.ino))
	}
	tail := len(block) - direntTailSize
	le := binary.LittleEndian
	ok = le.Uint32(block[tail:]) == 0 && le.Uint16(block[tail+4:]) == direntTailSize && block[tail+7] == direntTailKind
	return tail + direntHeader, crc32c(d.f.ownSeed(d.ino), block[:tail]), ok
}

// edit returns block n of d to be changed and then passed to seal.
func (d *directory) edit(n uint32) ([]byte, error) {
	if _, err := d.block(n); err != nil {
		return nil, err
	}
	return d.f.edit(d.physical(n))
}

// seal brings the checksum of block n up to date.
func (d *directory) seal(n uint32, block []byte) error {
	if !d.hasSums() {
		return nil
	}
	at, sum, ok := d.sum(n, block)
	if !ok {
		return d.errorf(n, "no room for a checksum")
	}
	binary.LittleEndian.PutUint32(block[at:], sum)
	return nil
}

// entries yields what d holds, without "." and "..".
func (d *directory) entries() iter.Seq2[slot, error] {
	return func(yield func(slot, error) bool) {
		for n := range d.count {
			block, err := d.block(n)
			if err != nil {
				yield(slot{}, err)
				return
			}
			for e, err := range dirents(block) {
				if err != nil {
					yield(slot{}, fmt.Errorf("directory %d, block %d: %w", d.ino.number, n, err))
					return
				}
				if name := string(e.name); e.inode == 0 || name == "." || name == ".." {
					continue
				}
				if !yield(slot{n, e}, nil) {
					return
				}
			}
		}
	}
}

// find finds the entry of a name, or gives an error that wraps
// [fs.ErrNotExist].
func (d *directory) find(name string) (slot, error) {
	if d.indexed() {
		return d.findIndexed(name)
	}
	for n := range d.count {
		if s, ok, err := d.findIn(n, name); ok || err != nil {
			return s, err
		}
	}
	return slot{}, fs.ErrNotExist
}

func (d *directory) findIn(n uint32, name string) (s slot, ok bool, err error) {
	block, err := d.block(n)
	if err != nil {
		return s, false, err
	}
	for e, err := range dirents(block) {
		if err != nil {
			return s, false, fmt.Errorf("directory %d, block %d: %w", d.ino.number, n, err)
		}
		if e.inode != 0 && string(e.name) == name {
			return slot{n, e}, true, nil
		}
	}
	return s, false, nil
}

// entry is a directory entry for ino.
func (d *directory) entry(name string, ino *inode) dirent {
	return dirent{inode: ino.number, kind: d.kind(ino), name: []byte(name)}
}

func (d *directory) kind(ino *inode) uint8 {
	if !d.f.super.has(featureFiletype) {
		return 0
	}
	return kindsOf[ino.Mode&typeMask]
}

// add adds an entry that is not there yet. The inode of d is left to be
// written by the caller.
func (d *directory) add(e dirent) error {
	if len(e.name) > maxName {
		return syscall.ENAMETOOLONG
	}
	if d.indexed() {
		return d.addIndexed(e)
	}
	d.ino.Flags &^= flagIndex // of a file system without dir_index
	for n := range d.count {
		if ok, err := d.addTo(n, e); ok || err != nil {
			return err
		}
	}
	if d.count == 1 && d.f.super.has(featureDirIndex) {
		if err := d.makeIndex(); err != nil {
			return err
		}
		return d.addIndexed(e)
	}
	n, err := d.grow()
	if err != nil {
		return err
	}
	return d.putEntries(n, []dirent{e})
}

// addTo adds e to block n if it has room.
func (d *directory) addTo(n uint32, e dirent) (bool, error) {
	block, err := d.edit(n)
	if err != nil {
		return false, err
	}
	ok, err := insertDirent(block[:d.usable()], e)
	if err != nil {
		return false, fmt.Errorf("directory %d, block %d: %w", d.ino.number, n, err)
	}
	if !ok {
		return false, nil
	}
	return true, d.seal(n, block)
}

// putEntries makes block n one of these entries.
func (d *directory) putEntries(n uint32, entries []dirent) error {
	block := make([]byte, d.f.blockSize)
	packDirents(block[:d.usable()], entries)
	if d.hasSums() {
		putDirent(block, dirent{off: d.usable(), size: direntTailSize, kind: direntTailKind})
	}
	d.f.put(d.physical(n), block)
	return d.seal(n, block)
}

// grow adds a block without content to d.
func (d *directory) grow() (uint32, error) {
	n := d.count
	goal := d.f.home(d.ino)
	if n > 0 {
		goal = d.physical(n-1) + 1
	}
	for i, e := range d.mapping.extents {
		if e.end() > uint64(n) { // preallocated: not for us
			if err := d.trim(i, uint64(n)); err != nil {
				return 0, err
			}
			break
		}
	}
	taken, err := d.f.allocate(goal, 1)
	if err != nil {
		return 0, err
	}
	d.mapping.append(extent{logical: uint64(n), physical: taken[0]})
	d.count++
	d.ino.setSize(d.ino.size() + int64(d.f.blockSize))
	return n, d.f.setMapping(d.ino, &d.mapping)
}

// trim frees the blocks of the directory from block end on. They lie in the extents from
// number i on.
func (d *directory) trim(i int, end uint64) error {
	for _, e := range d.mapping.extents[i:] {
		keep := max(e.logical, end) - e.logical
		if err := d.f.freeBlocks(span{e.physical.first + blockNumber(keep), e.physical.count - keep}); err != nil {
			return err
		}
	}
	e := &d.mapping.extents[i]
	if e.logical >= end {
		d.mapping.extents = d.mapping.extents[:i]
		return nil
	}
	e.physical.count = end - e.logical
	d.mapping.extents = d.mapping.extents[:i+1]
	return nil
}

// remove removes the entry at s.
func (d *directory) remove(s slot) error {
	block, err := d.edit(s.block)
	if err != nil {
		return err
	}
	if err := removeDirent(block, s.off); err != nil {
		return fmt.Errorf("directory %d, block %d: %w", d.ino.number, s.block, err)
	}
	return d.seal(s.block, block)
}

func (d *directory) empty() (bool, error) {
	for _, err := range d.entries() {
		return false, err
	}
	return true, nil
}
