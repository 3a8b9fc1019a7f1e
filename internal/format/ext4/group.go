package ext4

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A descriptor is struct ext4_group_desc. The second half only exists in
// descriptors of 64 bytes; it is zero for shorter ones.
type descriptor struct {
	BlockBitmapLow, InodeBitmapLow, InodeTableLow         uint32
	FreeBlocksLow, FreeInodesLow, DirsLow, Flags          uint16
	ExcludeBitmapLow                                      uint32
	BlockBitmapSumLow, InodeBitmapSumLow, UnusedInodesLow uint16
	Checksum                                              uint16

	BlockBitmapHigh, InodeBitmapHigh, InodeTableHigh          uint32
	FreeBlocksHigh, FreeInodesHigh, DirsHigh                  uint16
	UnusedInodesHigh                                          uint16
	ExcludeBitmapHigh                                         uint32
	BlockBitmapSumHigh, InodeBitmapSumHigh, Reserved, Padding uint16
}

// Sizes and offsets in a descriptor, for scans.
const (
	longDescriptor         = 64
	descFreeBlocksOffset   = 0x0c
	descFreeInodesOffset   = 0x0e
	descChecksumOffset     = 0x1e
	descFreeBlocksHiOffset = 0x2c
	descFreeInodesHiOffset = 0x2e
)

// Bits of descriptor.Flags: these bitmaps were never written. They only count
// when descriptors have checksums.
const (
	inodeUninit = 1
	blockUninit = 2
)

func (d *descriptor) blockBitmap() blockNumber {
	return blockNumber(d.BlockBitmapHigh)<<32 | blockNumber(d.BlockBitmapLow)
}

func (d *descriptor) inodeBitmap() blockNumber {
	return blockNumber(d.InodeBitmapHigh)<<32 | blockNumber(d.InodeBitmapLow)
}

func (d *descriptor) inodeTable() blockNumber {
	return blockNumber(d.InodeTableHigh)<<32 | blockNumber(d.InodeTableLow)
}

func (d *descriptor) freeBlocks() int { return int(d.FreeBlocksHigh)<<16 | int(d.FreeBlocksLow) }
func (d *descriptor) freeInodes() int { return int(d.FreeInodesHigh)<<16 | int(d.FreeInodesLow) }
func (d *descriptor) dirs() int       { return int(d.DirsHigh)<<16 | int(d.DirsLow) }
func (d *descriptor) unusedInodes() int {
	return int(d.UnusedInodesHigh)<<16 | int(d.UnusedInodesLow)
}

func (d *descriptor) setFreeBlocks(n int) {
	d.FreeBlocksLow, d.FreeBlocksHigh = uint16(n), uint16(n>>16)
}

func (d *descriptor) setFreeInodes(n int) {
	d.FreeInodesLow, d.FreeInodesHigh = uint16(n), uint16(n>>16)
}

func (d *descriptor) setDirs(n int) { d.DirsLow, d.DirsHigh = uint16(n), uint16(n>>16) }

func (d *descriptor) setUnusedInodes(n int) {
	d.UnusedInodesLow, d.UnusedInodesHigh = uint16(n), uint16(n>>16)
}

// hasDescriptorSums says whether descriptors have checksums, without which
// nothing in a group may be left uninitialised.
func (f *FS) hasDescriptorSums() bool {
	return f.super.has(featureMetadataCsum) || f.super.has(featureGdtCsum)
}

func (f *FS) uninit(d *descriptor, flag uint16) bool {
	return f.hasDescriptorSums() && d.Flags&flag != 0
}

// descriptorSum is the checksum of the descriptor in raw.
func (f *FS) descriptorSum(g uint32, raw []byte) uint16 {
	behind := raw[descChecksumOffset+2:]
	if f.super.has(featureMetadataCsum) {
		sum := crc32c(crc32cUint32(f.seed, g), raw[:descChecksumOffset])
		return uint16(crc32c(crc32c(sum, []byte{0, 0}), behind))
	}
	sum := crc16(^uint16(0), f.super.UUID[:])
	sum = crc16(sum, binary.LittleEndian.AppendUint32(nil, g))
	return crc16(crc16(sum, raw[:descChecksumOffset]), behind)
}

// descriptorOffset is where in its block the descriptor of group g lies.
func (f *FS) descriptorOffset(g uint32) int { return int(g%f.descsPerBlock()) * f.descSize }

// descriptor reads and checks the descriptor of group g.
func (f *FS) descriptor(g uint32) (d descriptor, err error) {
	block, err := f.block(f.descriptorBlock(g))
	if err != nil {
		return d, err
	}
	raw := block[f.descriptorOffset(g):][:f.descSize]
	var padded [longDescriptor]byte
	copy(padded[:], raw)
	if _, err := binary.Decode(padded[:], binary.LittleEndian, &d); err != nil {
		return d, err
	}
	if f.hasDescriptorSums() {
		if sum := f.descriptorSum(g, raw); sum != d.Checksum {
			return d, fmt.Errorf("%w: descriptor checksum %#04x, want %#04x", ErrCorrupt, d.Checksum, sum)
		}
	}
	return d, f.checkDescriptor(g, &d)
}

func (f *FS) checkDescriptor(g uint32, d *descriptor) error {
	for _, s := range []span{{d.blockBitmap(), 1}, {d.inodeBitmap(), 1}, {d.inodeTable(), f.itableBlocks()}} {
		if s.first <= blockNumber(f.super.FirstDataBlock) || s.first >= f.blocks || s.count > uint64(f.blocks-s.first) {
			return fmt.Errorf("%w: bitmap or inode table at block %d", ErrCorrupt, s.first)
		}
	}
	inodes := int(f.super.InodesPerGroup)
	if d.freeBlocks() > int(f.groupSpan(g).count) || d.freeInodes() > inodes || d.unusedInodes() > inodes || d.dirs() > inodes {
		return fmt.Errorf("%w: descriptor counts %d free blocks, %d free and %d unused inodes, %d directories",
			ErrCorrupt, d.freeBlocks(), d.freeInodes(), d.unusedInodes(), d.dirs())
	}
	return nil
}

// putDescriptor writes d with its checksum.
func (f *FS) putDescriptor(g uint32, d *descriptor) error {
	block, err := f.edit(f.descriptorBlock(g))
	if err != nil {
		return err
	}
	raw := block[f.descriptorOffset(g):][:f.descSize]
	var padded [longDescriptor]byte
	if _, err := binary.Encode(padded[:], binary.LittleEndian, d); err != nil {
		return err
	}
	copy(raw, padded[:])
	if f.hasDescriptorSums() {
		binary.LittleEndian.PutUint16(raw[descChecksumOffset:], f.descriptorSum(g, raw))
	}
	return nil
}

// room is the number of free blocks and inodes, in a group or in the file system.
type room struct{ blocks, inodes uint64 }

// roomIn reads only what it needs of a descriptor that was checked at Open: a
// file system of 2 TB has 16384.
func (f *FS) roomIn(g uint32) room {
	block, err := f.block(f.descriptorBlock(g))
	if err != nil {
		return room{}
	}
	raw := block[f.descriptorOffset(g):][:f.descSize]
	le := binary.LittleEndian
	r := room{uint64(le.Uint16(raw[descFreeBlocksOffset:])), uint64(le.Uint16(raw[descFreeInodesOffset:]))}
	if f.descSize >= longDescriptor {
		r.blocks |= uint64(le.Uint16(raw[descFreeBlocksHiOffset:])) << 16
		r.inodes |= uint64(le.Uint16(raw[descFreeInodesHiOffset:])) << 16
	}
	return r
}

// free is the room in all groups.
func (f *FS) free() (sum room) {
	for g := range f.groups {
		r := f.roomIn(g)
		sum.blocks += r.blocks
		sum.inodes += r.inodes
	}
	return sum
}

// bitmapSum is the checksum of the first count bits of a bitmap.
func (f *FS) bitmapSum(bitmap []byte, count uint32) uint32 { return crc32c(f.seed, bitmap[:count/8]) }

// checkBitmapSum compares the stored halves of a checksum, of which short
// descriptors have only the low one.
func (f *FS) checkBitmapSum(bitmap []byte, count uint32, low, high uint16) error {
	if !f.super.has(featureMetadataCsum) {
		return nil
	}
	sum := f.bitmapSum(bitmap, count)
	if low != uint16(sum) || f.descSize >= longDescriptor && high != uint16(sum>>16) {
		return fmt.Errorf("%w: bitmap checksum %#04x%04x, want %#08x", ErrCorrupt, high, low, sum)
	}
	return nil
}

// blockBitmap returns the block bitmap of group g to be read only.
func (f *FS) blockBitmap(g uint32, d *descriptor) (bitmap []byte, err error) {
	if f.uninit(d, blockUninit) {
		bitmap = f.initialBlockBitmap(g)
	} else {
		if bitmap, err = f.block(d.blockBitmap()); err != nil {
			return nil, err
		}
		if err := f.checkBitmapSum(bitmap, f.super.BlocksPerGroup, d.BlockBitmapSumLow, d.BlockBitmapSumHigh); err != nil {
			return nil, err
		}
	}
	if free := zeros(bitmap, int(f.groupSpan(g).count)); free != d.freeBlocks() {
		return nil, fmt.Errorf("%w: bitmap has %d free blocks, descriptor %d", ErrCorrupt, free, d.freeBlocks())
	}
	return bitmap, nil
}

// initialBlockBitmap is the bitmap of a group without files: its own part of
// the file system's own blocks, which with flex_bg may be other groups'.
func (f *FS) initialBlockBitmap(g uint32) []byte {
	bitmap := make([]byte, f.blockSize)
	blocks := f.groupSpan(g)
	for i := f.systemAfter(blocks.first); i < len(f.system) && f.system[i].first < blocks.end(); i++ {
		first, end := max(f.system[i].first, blocks.first), min(f.system[i].end(), blocks.end())
		setBits(bitmap, int(first-blocks.first), int(end-blocks.first))
	}
	setBits(bitmap, int(blocks.count), 8*len(bitmap))
	return bitmap
}

// editBlockBitmap returns the block bitmap of group g to be changed and then
// passed to sealBlockBitmap.
func (f *FS) editBlockBitmap(g uint32, d *descriptor) ([]byte, error) {
	bitmap, err := f.blockBitmap(g, d)
	if err != nil {
		return nil, err
	}
	if !f.uninit(d, blockUninit) {
		return f.edit(d.blockBitmap())
	}
	d.Flags &^= blockUninit
	f.put(d.blockBitmap(), bitmap)
	return bitmap, nil
}

func (f *FS) sealBlockBitmap(g uint32, d *descriptor, bitmap []byte) error {
	d.setFreeBlocks(zeros(bitmap, int(f.groupSpan(g).count)))
	if f.super.has(featureMetadataCsum) {
		sum := f.bitmapSum(bitmap, f.super.BlocksPerGroup)
		d.BlockBitmapSumLow, d.BlockBitmapSumHigh = uint16(sum), uint16(sum>>16)
	}
	return f.putDescriptor(g, d)
}

// editInodeBitmap returns the inode bitmap of group g to be changed and then
// passed to sealInodeBitmap.
func (f *FS) editInodeBitmap(d *descriptor) ([]byte, error) {
	inodes := f.super.InodesPerGroup
	if f.uninit(d, inodeUninit) {
		d.Flags &^= inodeUninit
		bitmap := make([]byte, f.blockSize)
		setBits(bitmap, int(inodes), 8*len(bitmap))
		f.put(d.inodeBitmap(), bitmap)
		return bitmap, nil
	}
	bitmap, err := f.edit(d.inodeBitmap())
	if err != nil {
		return nil, err
	}
	if err := f.checkBitmapSum(bitmap, inodes, d.InodeBitmapSumLow, d.InodeBitmapSumHigh); err != nil {
		return nil, err
	}
	if free := zeros(bitmap, int(inodes)); free != d.freeInodes() {
		return nil, fmt.Errorf("%w: bitmap has %d free inodes, descriptor %d", ErrCorrupt, free, d.freeInodes())
	}
	return bitmap, nil
}

func (f *FS) sealInodeBitmap(g uint32, d *descriptor, bitmap []byte) error {
	d.setFreeInodes(zeros(bitmap, int(f.super.InodesPerGroup)))
	if f.super.has(featureMetadataCsum) {
		sum := f.bitmapSum(bitmap, f.super.InodesPerGroup)
		d.InodeBitmapSumLow, d.InodeBitmapSumHigh = uint16(sum), uint16(sum>>16)
	}
	return f.putDescriptor(g, d)
}

func bit(bitmap []byte, i int) bool { return bitmap[i/8]>>(i%8)&1 != 0 }

func setBits(bitmap []byte, first, end int) {
	for i := first; i < end; i++ {
		bitmap[i/8] |= 1 << (i % 8)
	}
}

func clearBits(bitmap []byte, first, end int) {
	for i := first; i < end; i++ {
		bitmap[i/8] &^= 1 << (i % 8)
	}
}

// zeros counts the zeros in the first count bits, a multiple of 8 or to be
// rounded by the caller's padding of ones.
func zeros(bitmap []byte, count int) (n int) {
	i := 0
	for ; i+64 <= count; i += 64 {
		n += 64 - bits.OnesCount64(binary.LittleEndian.Uint64(bitmap[i/8:]))
	}
	for ; i < count; i++ {
		if !bit(bitmap, i) {
			n++
		}
	}
	return n
}
