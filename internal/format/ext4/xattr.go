package ext4

import (
	"encoding/binary"
	"fmt"
)

// "Extended Attributes" of the format's documentation.

const (
	xattrMagic      = 0xea020000
	xattrHeaderSize = 32 // of a block; in an inode there is only the magic
	xattrEntrySize  = 16 // without the name
)

// An xattrHeader is struct ext4_xattr_header.
type xattrHeader struct {
	Magic, References, Blocks, Hash, Checksum uint32
	Reserved                                  [3]uint32
}

// An xattrEntry is struct ext4_xattr_entry, before its name.
type xattrEntry struct {
	NameLength, Prefix uint8
	ValueOffset        uint16
	ValueInode         uint32
	ValueSize, Hash    uint32
}

// xattrPrefixes are the starts of names that are not stored.
var xattrPrefixes = map[uint8]string{
	0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default",
	4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// Xattrs returns the extended attributes of a file by their full names, such
// as "security.capability", with the values that Linux gives to programs.
func (f *FS) Xattrs(name string) (attrs map[string][]byte, err error) {
	err = f.look("xattrs", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			attrs, err = f.xattrs(ino)
		}
		return err
	})
	return attrs, err
}

func (f *FS) xattrs(ino *inode) (map[string][]byte, error) {
	attrs := map[string][]byte{}
	own, err := f.inodeXattrs(ino)
	if err != nil {
		return nil, err
	}
	if own != nil {
		if err := readXattrs(attrs, own, own); err != nil {
			return nil, fmt.Errorf("inode %d: %w", ino.number, err)
		}
	}
	if ino.xattrBlock() == 0 {
		return attrs, nil
	}
	block, _, err := f.readXattrBlock(ino.xattrBlock())
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino.number, err)
	}
	if err := readXattrs(attrs, block[xattrHeaderSize:], block); err != nil {
		return nil, fmt.Errorf("inode %d: block %d: %w", ino.number, ino.xattrBlock(), err)
	}
	return attrs, nil
}

// inodeXattrs is the part of an inode behind its fields, if it holds
// attributes.
func (f *FS) inodeXattrs(ino *inode) ([]byte, error) {
	at, off, err := f.inodeSlot(ino.number)
	if err != nil {
		return nil, err
	}
	block, err := f.block(at)
	if err != nil {
		return nil, err
	}
	raw := block[off:][:f.super.InodeSize]
	start := shortInode + int(ino.ExtraSize)
	if len(raw) == shortInode || ino.ExtraSize == 0 || start+4 > len(raw) || binary.LittleEndian.Uint32(raw[start:]) != xattrMagic {
		return nil, nil
	}
	return raw[start+4:], nil
}

// readXattrs decodes entries; the offsets of their values count from the start
// of values.
func readXattrs(attrs map[string][]byte, entries, values []byte) error {
	for len(entries) >= 4 && binary.LittleEndian.Uint32(entries) != 0 {
		var e xattrEntry
		if len(entries) < xattrEntrySize {
			return fmt.Errorf("%w: extended attribute is cut off", ErrCorrupt)
		}
		if _, err := binary.Decode(entries, binary.LittleEndian, &e); err != nil {
			return err
		}
		size := (xattrEntrySize + int(e.NameLength) + 3) / 4 * 4
		prefix, ok := xattrPrefixes[e.Prefix]
		if size > len(entries) || !ok || e.ValueInode != 0 {
			return fmt.Errorf("%w: extended attribute %+v", ErrCorrupt, e)
		}
		name := prefix + string(entries[xattrEntrySize:][:e.NameLength])
		first, end := uint64(e.ValueOffset), uint64(e.ValueOffset)+uint64(e.ValueSize)
		if end > uint64(len(values)) {
			return fmt.Errorf("%w: value of extended attribute %q ends at %d of %d", ErrCorrupt, name, end, len(values))
		}
		value, err := xattrValue(e.Prefix, values[first:end])
		if err != nil {
			return fmt.Errorf("extended attribute %q: %w", name, err)
		}
		attrs[name] = value
		entries = entries[size:]
	}
	return nil
}

// xattrValue is a value as Linux shows it: access control lists are stored in
// a form of their own, without the ids of entries that have none.
func xattrValue(prefix uint8, stored []byte) ([]byte, error) {
	const userTag, groupTag = 2, 8
	if prefix != 2 && prefix != 3 {
		return append([]byte{}, stored...), nil
	}
	le := binary.LittleEndian
	if len(stored) < 4 || le.Uint32(stored) != 1 {
		return nil, fmt.Errorf("%w: access control list", ErrCorrupt)
	}
	value := le.AppendUint32(nil, 2)
	for stored = stored[4:]; len(stored) > 0; {
		size, id := 4, ^uint32(0)
		if len(stored) < size {
			return nil, fmt.Errorf("%w: access control list is cut off", ErrCorrupt)
		}
		if tag := le.Uint16(stored); tag == userTag || tag == groupTag {
			size = 8
			if len(stored) < size {
				return nil, fmt.Errorf("%w: access control list is cut off", ErrCorrupt)
			}
			id = le.Uint32(stored[4:])
		}
		value = append(value, stored[:4]...)
		value = le.AppendUint32(value, id)
		stored = stored[size:]
	}
	return value, nil
}

// readXattrBlock reads a block of attributes, which files may share.
func (f *FS) readXattrBlock(n blockNumber) (block []byte, h xattrHeader, err error) {
	if err := f.checkData(span{n, 1}); err != nil {
		return nil, h, err
	}
	if block, err = f.block(n); err != nil {
		return nil, h, err
	}
	if _, err := binary.Decode(block, binary.LittleEndian, &h); err != nil {
		return nil, h, err
	}
	if h.Magic != xattrMagic || h.Blocks != 1 || h.References == 0 {
		return nil, h, fmt.Errorf("%w: block %d of extended attributes: %+v", ErrCorrupt, n, h)
	}
	if sum := f.xattrSum(n, block, h); f.super.has(featureMetadataCsum) && sum != h.Checksum {
		return nil, h, fmt.Errorf("%w: block %d of extended attributes: checksum %#08x, want %#08x", ErrCorrupt, n, h.Checksum, sum)
	}
	return block, h, nil
}

func (f *FS) xattrSum(n blockNumber, block []byte, h xattrHeader) uint32 {
	h.Checksum = 0
	var header [xattrHeaderSize]byte
	binary.Encode(header[:], binary.LittleEndian, h)
	sum := crc32c(f.seed, binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return crc32c(crc32c(sum, header[:]), block[xattrHeaderSize:])
}

// dropXattrBlock gives up ino's block of attributes, and frees it if no other
// file uses it.
func (f *FS) dropXattrBlock(ino *inode) error {
	n := ino.xattrBlock()
	if n == 0 {
		return nil
	}
	_, h, err := f.readXattrBlock(n)
	if err != nil {
		return fmt.Errorf("inode %d: %w", ino.number, err)
	}
	ino.XattrBlockLow, ino.XattrBlockHigh = 0, 0
	if h.References == 1 {
		return f.freeBlocks(span{n, 1})
	}
	block, err := f.edit(n)
	if err != nil {
		return err
	}
	h.References--
	h.Checksum = 0
	if f.super.has(featureMetadataCsum) {
		h.Checksum = f.xattrSum(n, block, h)
	}
	_, err = binary.Encode(block, binary.LittleEndian, h)
	return err
}

// hasACL says whether ino has an access control list of its own, of which its
// mode is only a part.
func (f *FS) hasACL(ino *inode) (bool, error) {
	attrs, err := f.xattrs(ino)
	_, ok := attrs[xattrPrefixes[2]]
	return ok, err
}
