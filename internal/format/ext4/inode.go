package ext4

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"
)

// An inodeNumber names an inode; 0 marks an unused directory entry.
type inodeNumber uint32

const rootInode inodeNumber = 2

// shortInode is the size of the inode of ext2. What comes after it is there in
// larger inodes, as far as ExtraSize says.
const shortInode = 128

// An inodeRecord is struct ext4_inode.
type inodeRecord struct {
	Mode, UIDLow                      uint16
	SizeLow                           uint32
	Atime, Ctime, Mtime, Dtime        uint32
	GIDLow, Links                     uint16
	SectorsLow, Flags, VersionLow     uint32
	Block                             [60]byte // mapping, link target or device number
	Generation                        uint32
	XattrBlockLow, SizeHigh, Fragment uint32
	SectorsHigh, XattrBlockHigh       uint16
	UIDHigh, GIDHigh                  uint16
	ChecksumLow, Reserved             uint16

	ExtraSize, ChecksumHigh            uint16
	CtimeExtra, MtimeExtra, AtimeExtra uint32
	Crtime, CrtimeExtra                uint32
	VersionHigh, Project               uint32
}

const (
	inodeRecordSize    = 160
	checksumLowOffset  = 0x7c
	checksumHighOffset = 0x82
	extraSize          = inodeRecordSize - shortInode // of the inodes that we make
	maxLinks           = 65000
	sectorSize         = 512 // the unit of inodes' counts of blocks, whatever the disk's
)

// Bits of inodeRecord.Flags.
const (
	flagIndex   = 0x1000 // hashed directory
	flagHuge    = 0x40000
	flagExtents = 0x80000
	// flagsUnknown change the meaning of the content and have features that
	// Open refuses: encrypt, verity, ea_inode, inline_data, casefold.
	flagsUnknown = 0x800 | 0x100000 | 0x200000 | 0x10000000 | 0x40000000
	flagEOF      = 0x400000 // blocks behind the end, of old
)

// Types in inodeRecord.Mode.
const (
	typeMask    = 0xf000
	typeFIFO    = 0x1000
	typeChar    = 0x2000
	typeDir     = 0x4000
	typeBlock   = 0x6000
	typeRegular = 0x8000
	typeLink    = 0xa000
	typeSocket  = 0xc000
)

// An inode is an inode and its number.
type inode struct {
	number inodeNumber
	inodeRecord
}

func (ino *inode) is(kind uint16) bool { return ino.Mode&typeMask == kind }

func (ino *inode) size() int64 { return int64(ino.SizeHigh)<<32 | int64(ino.SizeLow) }

func (ino *inode) setSize(n int64) { ino.SizeLow, ino.SizeHigh = uint32(n), uint32(n>>32) }

func (ino *inode) uid() uint32 { return uint32(ino.UIDHigh)<<16 | uint32(ino.UIDLow) }
func (ino *inode) gid() uint32 { return uint32(ino.GIDHigh)<<16 | uint32(ino.GIDLow) }

func (ino *inode) xattrBlock() blockNumber {
	return blockNumber(ino.XattrBlockHigh)<<32 | blockNumber(ino.XattrBlockLow)
}

// setBlocks sets the count of blocks: data, mapping and extended attributes.
func (f *FS) setBlocks(ino *inode, blocks uint64) {
	if ino.xattrBlock() != 0 {
		blocks++
	}
	sectors := blocks * uint64(f.blockSize/sectorSize)
	ino.SectorsLow, ino.SectorsHigh = uint32(sectors), uint16(sectors>>32)
	ino.Flags &^= flagHuge
}

// has says whether the fields up to end, an offset behind shortInode, exist.
func (ino *inode) has(end int) bool { return int(ino.ExtraSize) >= end-shortInode }

// inodeSlot is where inode n lies.
func (f *FS) inodeSlot(n inodeNumber) (blockNumber, int, error) {
	if n == 0 || uint32(n) > f.super.Inodes {
		return 0, 0, fmt.Errorf("%w: inode %d of %d", ErrCorrupt, n, f.super.Inodes)
	}
	g, i := uint32(n-1)/f.super.InodesPerGroup, int64(uint32(n-1)%f.super.InodesPerGroup)
	d, err := f.descriptor(g)
	if err != nil {
		return 0, 0, fmt.Errorf("group %d: %w", g, err)
	}
	off := i * int64(f.super.InodeSize)
	return d.inodeTable() + blockNumber(off/int64(f.blockSize)), int(off % int64(f.blockSize)), nil
}

// inode reads the inode that a directory entry names.
func (f *FS) inode(n inodeNumber) (*inode, error) {
	if n != rootInode && uint32(n) < f.super.FirstInode {
		return nil, fmt.Errorf("%w: reserved inode %d in a directory", ErrCorrupt, n)
	}
	at, off, err := f.inodeSlot(n)
	if err != nil {
		return nil, err
	}
	block, err := f.block(at)
	if err != nil {
		return nil, err
	}
	ino, err := f.decodeInode(n, block[off:][:f.super.InodeSize])
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", n, err)
	}
	return ino, nil
}

func (f *FS) decodeInode(n inodeNumber, raw []byte) (*inode, error) {
	ino := &inode{number: n}
	var padded [inodeRecordSize]byte
	copy(padded[:], raw)
	if _, err := binary.Decode(padded[:], binary.LittleEndian, &ino.inodeRecord); err != nil {
		return nil, err
	}
	if int(ino.ExtraSize) > len(raw)-shortInode && len(raw) > shortInode || ino.ExtraSize%4 != 0 {
		return nil, fmt.Errorf("%w: %d extra bytes in an inode of %d", ErrCorrupt, ino.ExtraSize, len(raw))
	}
	if f.super.has(featureMetadataCsum) {
		if low, high := f.inodeSum(ino, raw); low != ino.ChecksumLow || ino.has(checksumHighOffset+2) && high != ino.ChecksumHigh {
			return nil, fmt.Errorf("%w: inode checksum %#04x%04x, want %#04x%04x", ErrCorrupt, ino.ChecksumHigh, ino.ChecksumLow, high, low)
		}
	}
	switch {
	case ino.Links == 0:
		return nil, fmt.Errorf("%w: a deleted inode is in a directory", ErrCorrupt)
	case ino.Flags&flagsUnknown != 0:
		return nil, fmt.Errorf("%w: inode flags %#x", ErrCorrupt, ino.Flags)
	case ino.size() < 0:
		return nil, fmt.Errorf("%w: size %d", ErrCorrupt, uint64(ino.size()))
	}
	return ino, nil
}

// inodeSum is the checksum of the inode in raw, in halves.
func (f *FS) inodeSum(ino *inode, raw []byte) (low, high uint16) {
	zeroed := append([]byte(nil), raw...)
	binary.LittleEndian.PutUint16(zeroed[checksumLowOffset:], 0)
	if ino.has(checksumHighOffset + 2) {
		binary.LittleEndian.PutUint16(zeroed[checksumHighOffset:], 0)
	}
	sum := crc32c(f.ownSeed(ino), zeroed)
	return uint16(sum), uint16(sum >> 16)
}

// ownSeed is the start value of the checksums of blocks that belong to ino.
func (f *FS) ownSeed(ino *inode) uint32 {
	return crc32cUint32(crc32cUint32(f.seed, uint32(ino.number)), ino.Generation)
}

// newInode makes an inode without content, owned by root.
func (f *FS) newInode(n inodeNumber, mode uint16) (*inode, error) {
	at, off, err := f.inodeSlot(n)
	if err != nil {
		return nil, err
	}
	block, err := f.edit(at)
	if err != nil {
		return nil, err
	}
	clear(block[off:][:f.super.InodeSize])
	ino := &inode{number: n}
	ino.Mode, ino.Links = mode, 1
	if f.super.InodeSize > shortInode {
		ino.ExtraSize = extraSize
	}
	f.setTime(&ino.Atime, &ino.AtimeExtra, f.now, ino)
	f.setTime(&ino.Mtime, &ino.MtimeExtra, f.now, ino)
	f.setTime(&ino.Crtime, &ino.CrtimeExtra, f.now, ino)
	return ino, nil
}

// putInode writes ino, stamped as changed now.
func (f *FS) putInode(ino *inode) error {
	at, off, err := f.inodeSlot(ino.number)
	if err != nil {
		return err
	}
	block, err := f.edit(at)
	if err != nil {
		return err
	}
	f.setTime(&ino.Ctime, &ino.CtimeExtra, f.now, ino)
	raw := block[off:][:f.super.InodeSize]
	f.encodeInode(ino, raw)
	if f.super.has(featureMetadataCsum) {
		ino.ChecksumLow, ino.ChecksumHigh = f.inodeSum(ino, raw)
		f.encodeInode(ino, raw)
	}
	return nil
}

// encodeInode does not touch the bytes behind the inode's own extra size: extended
// attributes lie there.
func (f *FS) encodeInode(ino *inode, raw []byte) {
	var full [inodeRecordSize]byte
	binary.Encode(full[:], binary.LittleEndian, &ino.inodeRecord)
	size := shortInode
	if len(raw) > shortInode {
		size = min(inodeRecordSize, shortInode+max(2, int(ino.ExtraSize)))
	}
	copy(raw[:size], full[:])
}

// setTime sets a time of ino, which is in seconds of 32 bits, with 2 more bits
// and the nanoseconds in a field of its own if the inode is large enough.
// Times beyond what fits are brought to the nearest that does, as in Linux.
func (f *FS) setTime(low, extra *uint32, t time.Time, ino *inode) {
	sec, largest := t.Unix(), int64(1)<<31-1
	if ino.hasExtraTime(extra) {
		largest += 3 << 32
	}
	if sec > largest || sec < -1<<31 {
		t = time.Unix(max(-1<<31, min(sec, largest)), 0)
		sec = t.Unix()
	}
	*low = uint32(sec)
	if ino.hasExtraTime(extra) {
		*extra = uint32((sec-int64(int32(sec)))>>32)&3 | uint32(t.Nanosecond())<<2
	}
}

func (ino *inode) hasExtraTime(extra *uint32) bool {
	switch extra {
	case &ino.CtimeExtra:
		return ino.has(0x88)
	case &ino.MtimeExtra:
		return ino.has(0x8c)
	case &ino.AtimeExtra:
		return ino.has(0x90)
	}
	return ino.has(0x98) // creation
}

func (ino *inode) time(low, extra *uint32) time.Time {
	if !ino.hasExtraTime(extra) {
		return time.Unix(int64(int32(*low)), 0)
	}
	return time.Unix(int64(int32(*low))+int64(*extra&3)<<32, int64(min(*extra>>2, 999_999_999)))
}

func (ino *inode) atime() time.Time { return ino.time(&ino.Atime, &ino.AtimeExtra) }
func (ino *inode) ctime() time.Time { return ino.time(&ino.Ctime, &ino.CtimeExtra) }
func (ino *inode) mtime() time.Time { return ino.time(&ino.Mtime, &ino.MtimeExtra) }

// touch stamps ino's content as changed now, and writes ino.
func (f *FS) touch(ino *inode) error {
	f.setTime(&ino.Mtime, &ino.MtimeExtra, f.now, ino)
	return f.putInode(ino)
}

var typeModes = map[uint16]fs.FileMode{
	typeFIFO: fs.ModeNamedPipe, typeChar: fs.ModeDevice | fs.ModeCharDevice, typeDir: fs.ModeDir,
	typeBlock: fs.ModeDevice, typeRegular: 0, typeLink: fs.ModeSymlink, typeSocket: fs.ModeSocket,
}

const (
	setuidBit = 0o4000
	setgidBit = 0o2000
	stickyBit = 0o1000
)

// mode is the mode of ino as Go has it.
func (ino *inode) mode() fs.FileMode {
	mode, ok := typeModes[ino.Mode&typeMask]
	if !ok {
		mode = fs.ModeIrregular
	}
	mode |= fs.FileMode(ino.Mode & 0o777)
	if ino.Mode&setuidBit != 0 {
		mode |= fs.ModeSetuid
	}
	if ino.Mode&setgidBit != 0 {
		mode |= fs.ModeSetgid
	}
	if ino.Mode&stickyBit != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// permissions are the lower 12 bits of a mode.
func permissions(perm fs.FileMode) uint16 {
	bits := uint16(perm.Perm())
	if perm&fs.ModeSetuid != 0 {
		bits |= setuidBit
	}
	if perm&fs.ModeSetgid != 0 {
		bits |= setgidBit
	}
	if perm&fs.ModeSticky != 0 {
		bits |= stickyBit
	}
	return bits
}

// device is the number of a device node, in Linux's encoding of 32 bits.
func (ino *inode) device() uint32 {
	if !ino.is(typeChar) && !ino.is(typeBlock) {
		return 0
	}
	if old := binary.LittleEndian.Uint32(ino.Block[:]); old != 0 {
		return old
	}
	return binary.LittleEndian.Uint32(ino.Block[4:])
}

// removeInode frees an inode that no directory names any more, and all its blocks.
func (f *FS) removeInode(ino *inode) error {
	if f.hasMapping(ino) {
		if err := f.freeMapping(ino); err != nil {
			return err
		}
	}
	if err := f.dropXattrBlock(ino); err != nil {
		return err
	}
	ino.Links = 0
	ino.setSize(0)
	// A small number here would be taken for the next of a list of orphans.
	ino.Dtime = max(uint32(f.now.Unix()), f.super.Inodes)
	f.setBlocks(ino, 0)
	if err := f.putInode(ino); err != nil {
		return err
	}
	return f.freeInode(ino.number, ino.is(typeDir))
}
