package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// A dirent is one entry of a directory block.
type dirent struct {
	off, size int // of the record in its block
	inode     inodeNumber
	kind      uint8
	name      []byte // in the block
}

const (
	// direntHeader is the size of a dirent without its name:
	// inode uint32, record length uint16, name length uint8, kind uint8.
	direntHeader = 8
	maxName      = 255
	// direntTailSize is the size of the record that ends a block with a
	// checksum. To those who do not know it, it is an unused entry.
	direntTailSize = 12
	direntTailKind = 0xde
)

// Kinds of directory entries.
const (
	kindRegular = 1
	kindDir     = 2
	kindLink    = 7
)

var kindsOf = map[uint16]uint8{
	typeRegular: kindRegular, typeDir: kindDir, typeChar: 3, typeBlock: 4, typeFIFO: 5, typeSocket: 6, typeLink: kindLink,
}

// direntSize is the size of the smallest record for a name.
func direntSize(name int) int { return (direntHeader + name + 3) / 4 * 4 }

// dirents walks a directory block in disk order, unused entries included. It
// stops after the first error, which wraps [ErrCorrupt].
func dirents(block []byte) iter.Seq2[dirent, error] {
	return func(yield func(dirent, error) bool) {
		for off := 0; off < len(block); {
			d, err := decodeDirent(block, off)
			if !yield(d, err) || err != nil {
				return
			}
			off += d.size
		}
	}
}

func decodeDirent(block []byte, off int) (dirent, error) {
	rec := block[off:]
	if len(rec) < direntHeader {
		return dirent{}, fmt.Errorf("%w: directory entry at %d is cut off", ErrCorrupt, off)
	}
	size, nameEnd := int(binary.LittleEndian.Uint16(rec[4:])), direntHeader+int(rec[6])
	if size < nameEnd || size > len(rec) || size%4 != 0 {
		return dirent{}, fmt.Errorf("%w: directory entry at %d is %d bytes long", ErrCorrupt, off, size)
	}
	d := dirent{off, size, inodeNumber(binary.LittleEndian.Uint32(rec)), rec[7], rec[direntHeader:nameEnd]}
	if d.inode != 0 && (len(d.name) == 0 || bytes.ContainsAny(d.name, "/\x00")) {
		return dirent{}, fmt.Errorf("%w: directory entry at %d is named %q", ErrCorrupt, off, d.name)
	}
	return d, nil
}

// putDirent writes a record of d.size bytes at d.off.
func putDirent(block []byte, d dirent) {
	rec := block[d.off:][:d.size]
	binary.LittleEndian.PutUint32(rec, uint32(d.inode))
	binary.LittleEndian.PutUint16(rec[4:], uint16(d.size))
	rec[6], rec[7] = uint8(len(d.name)), d.kind
	clear(rec[direntHeader+copy(rec[direntHeader:], d.name):])
}

// insertDirent adds d where block has room for it, if it has.
func insertDirent(block []byte, d dirent) (bool, error) {
	need := direntSize(len(d.name))
	for old, err := range dirents(block) {
		if err != nil {
			return false, err
		}
		used := 0
		if old.inode != 0 {
			used = direntSize(len(old.name))
		}
		if old.size-used < need {
			continue
		}
		if used > 0 {
			binary.LittleEndian.PutUint16(block[old.off+4:], uint16(used))
		}
		d.off, d.size = old.off+used, old.size-used
		putDirent(block, d)
		return true, nil
	}
	return false, nil
}

// removeDirent takes the entry at off out of block: the one before it takes
// its room.
func removeDirent(block []byte, off int) error {
	before := -1
	for d, err := range dirents(block) {
		switch {
		case err != nil:
			return err
		case d.off == off && before < 0:
			binary.LittleEndian.PutUint32(block[off:], 0)
			return nil
		case d.off == off:
			size := off - before + d.size
			clear(block[off:][:d.size])
			binary.LittleEndian.PutUint16(block[before+4:], uint16(size))
			return nil
		}
		before = d.off
	}
	return fmt.Errorf("%w: no directory entry at %d", ErrCorrupt, off)
}

// direntsSize is the room that entries take.
func direntsSize(entries []dirent) (sum int) {
	for _, d := range entries {
		sum += direntSize(len(d.name))
	}
	return sum
}

// packDirents fills block with entries, the last of which gets all the rest.
func packDirents(block []byte, entries []dirent) {
	off := 0
	for i, d := range entries {
		d.off, d.size = off, direntSize(len(d.name))
		if i == len(entries)-1 {
			d.size = len(block) - off
		}
		putDirent(block, d)
		off += d.size
	}
	if len(entries) == 0 {
		putDirent(block, dirent{size: len(block)})
	}
}
