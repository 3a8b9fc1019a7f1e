package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// superblockOffset is where the superblock lies, whatever the block size.
const (
	superblockOffset = 1024
	superblockSize   = 1024
	superMagic       = 0xef53
)

// A superblock is struct ext4_super_block.
type superblock struct {
	Inodes, BlocksLow, ReservedBlocksLow, FreeBlocksLow  uint32
	FreeInodes, FirstDataBlock, LogBlockSize, LogCluster uint32
	BlocksPerGroup, ClustersPerGroup, InodesPerGroup     uint32
	MountTime, WriteTime                                 uint32
	Mounts, MaxMounts, Magic, State, OnError, MinorRev   uint16
	LastCheck, CheckInterval, CreatorOS, Revision        uint32
	ReservedUID, ReservedGID                             uint16
	FirstInode                                           uint32
	InodeSize, GroupOfThis                               uint16
	Compat, Incompat, RoCompat                           uint32
	UUID, Label                                          [16]byte
	LastMounted                                          [64]byte
	AlgorithmUsage                                       uint32
	PreallocBlocks, PreallocDirBlocks                    uint8
	ReservedGDTBlocks                                    uint16
	JournalUUID                                          [16]byte
	JournalInode, JournalDevice, LastOrphan              uint32
	HashSeed                                             [4]uint32
	HashVersion, JournalBackupType                       uint8
	DescSize                                             uint16
	MountOptions, FirstMetaBG, MadeTime                  uint32
	JournalBlocks                                        [17]uint32
	BlocksHigh, ReservedBlocksHigh, FreeBlocksHigh       uint32
	MinExtraSize, WantExtraSize                          uint16
	Flags                                                uint32
	RAIDStride, MMPInterval                              uint16
	MMPBlock                                             uint64
	RAIDStripeWidth                                      uint32
	LogGroupsPerFlex, ChecksumType                       uint8
	EncryptionLevel, Reserved1                           uint8
	KBytesWritten                                        uint64
	SnapshotInode, SnapshotID                            uint32
	SnapshotReserved                                     uint64
	SnapshotList                                         uint32
	ErrorCount                                           uint32
	ErrorRecords                                         [104]byte
	MountOptionString                                    [64]byte
	UserQuotaInode, GroupQuotaInode, Overhead            uint32
	BackupGroups                                         [2]uint32
	EncryptAlgorithms                                    [4]byte
	EncryptSalt                                          [16]byte
	LostFoundInode, ProjectQuotaInode, ChecksumSeed      uint32
	WriteTimeHigh, MountTimeHigh, MadeTimeHigh           uint8
	LastCheckHigh, FirstErrorHigh, LastErrorHigh         uint8
	FirstErrorCode, LastErrorCode                        uint8
	Encoding, EncodingFlags                              uint16
	OrphanFileInode                                      uint32
	Reserved2                                            [376]byte
	Checksum                                             uint32
}

// Bits of superblock.State.
const (
	stateClean  = 1
	stateErrors = 2
	stateOrphan = 4
)

// Bits of superblock.Flags: whether names were hashed as signed or unsigned chars, which
// differs between architectures.
const flagUnsignedHash = 2

func readSuperblock(dev io.ReaderAt, size int64) (s superblock, err error) {
	var raw [superblockSize]byte
	if size < superblockOffset+superblockSize {
		return s, fmt.Errorf("%w: %d bytes hold no file system", ErrCorrupt, size)
	}
	if err := readFull(dev, raw[:], superblockOffset); err != nil {
		return s, err
	}
	if _, err := binary.Decode(raw[:], binary.LittleEndian, &s); err != nil {
		return s, err
	}
	if s.Magic != superMagic {
		return s, fmt.Errorf("magic %#x, want %#x: not an ext4 file system: %w", s.Magic, superMagic, errors.ErrUnsupported)
	}
	if err := s.checkFeatures(raw[:]); err != nil {
		return s, err
	}
	if err := s.checkState(); err != nil {
		return s, err
	}
	return s, s.checkGeometry(size)
}

// checkFeatures refuses features that this package could not keep consistent.
func (s *superblock) checkFeatures(raw []byte) error {
	if s.Revision != 1 {
		return fmt.Errorf("revision %d: %w", s.Revision, errors.ErrUnsupported)
	}
	if s.has(featureNeedsRecovery) {
		return fmt.Errorf("%w: the journal holds changes: boot the system once, or run e2fsck", ErrNeedsRecovery)
	}
	if s.has(featureOrphanPresent) {
		return fmt.Errorf("%w: the orphan file is in use: boot the system once, or run e2fsck", ErrNeedsRecovery)
	}
	known := map[feature]bool{}
	for _, x := range supported {
		known[x] = true
	}
	for _, x := range s.features() {
		if x.word != compat && !known[x] {
			return fmt.Errorf("feature %v: %w", x, errors.ErrUnsupported)
		}
	}
	if !s.has(featureMetadataCsum) {
		return nil
	}
	if s.ChecksumType != 1 {
		return fmt.Errorf("checksum type %d: %w", s.ChecksumType, errors.ErrUnsupported)
	}
	if sum := superblockSum(raw); sum != s.Checksum {
		return fmt.Errorf("%w: checksum %#08x, want %#08x", ErrCorrupt, s.Checksum, sum)
	}
	return nil
}

func (s *superblock) checkState() error {
	switch {
	case s.State&stateErrors != 0:
		return fmt.Errorf("%w: errors are on record: run e2fsck", ErrCorrupt)
	case s.State&stateClean == 0:
		return fmt.Errorf("%w: boot the system once, or run e2fsck", ErrNeedsRecovery)
	case s.State&stateOrphan != 0 || s.LastOrphan != 0:
		return fmt.Errorf("%w: inode %d is deleted but not freed: boot the system once, or run e2fsck", ErrNeedsRecovery, s.LastOrphan)
	}
	return nil
}

// checkGeometry checks all numbers that later arithmetic relies on.
func (s *superblock) checkGeometry(size int64) error {
	if s.LogBlockSize > 5 {
		return fmt.Errorf("block size of 1024 << %d bytes: %w", s.LogBlockSize, errors.ErrUnsupported)
	}
	bs, perGroup := uint32(s.blockSize()), s.BlocksPerGroup
	first := uint32(0)
	if bs == 1024 {
		first = 1
	}
	corrupt := func(what string, got uint64) error { return fmt.Errorf("%w: %s %d", ErrCorrupt, what, got) }
	switch {
	case uint64(s.blocks()) > uint64(size)/uint64(bs):
		return fmt.Errorf("%w: %d blocks of %d bytes in a partition of %d bytes", ErrCorrupt, s.blocks(), bs, size)
	case s.FirstDataBlock != first:
		return corrupt("first data block", uint64(s.FirstDataBlock))
	case perGroup < 256 || perGroup > 8*bs || perGroup%8 != 0:
		return corrupt("blocks in a group", uint64(perGroup))
	case s.LogCluster != s.LogBlockSize || s.ClustersPerGroup != perGroup:
		return corrupt("clusters in a group", uint64(s.ClustersPerGroup))
	case uint64(s.blocks()) <= uint64(first) || (uint64(s.blocks())-uint64(first))/uint64(perGroup) >= 1<<31:
		return corrupt("number of blocks", uint64(s.blocks()))
	case s.InodesPerGroup == 0 || s.InodesPerGroup > 8*bs || s.InodesPerGroup%8 != 0:
		return corrupt("inodes in a group", uint64(s.InodesPerGroup))
	case uint64(s.Inodes) != uint64(s.groups())*uint64(s.InodesPerGroup):
		return corrupt("number of inodes", uint64(s.Inodes))
	case s.InodeSize < 128 || uint32(s.InodeSize) > bs || bits.OnesCount16(s.InodeSize) != 1:
		return corrupt("inode size", uint64(s.InodeSize))
	case s.FirstInode < 11 || s.FirstInode > s.Inodes:
		return corrupt("first inode", uint64(s.FirstInode))
	case s.has(feature64bit) && (s.DescSize < 64 || s.DescSize > 1024 || bits.OnesCount16(s.DescSize) != 1):
		return corrupt("group descriptor size", uint64(s.DescSize))
	case uint64(s.ReservedGDTBlocks) > uint64(bs)/4:
		return corrupt("reserved descriptor blocks", uint64(s.ReservedGDTBlocks))
	}
	return nil
}

func (s *superblock) blockSize() int { return 1024 << s.LogBlockSize }

func (s *superblock) blocks() blockNumber {
	return blockNumber(s.wide(s.BlocksLow, s.BlocksHigh))
}

// wide joins the halves of a number whose high half only counts with 64bit.
func (s *superblock) wide(low, high uint32) uint64 {
	if !s.has(feature64bit) {
		return uint64(low)
	}
	return uint64(high)<<32 | uint64(low)
}

func (s *superblock) groups() uint32 {
	perGroup := uint64(s.BlocksPerGroup)
	return uint32((uint64(s.blocks()) - uint64(s.FirstDataBlock) + perGroup - 1) / perGroup)
}

func (s *superblock) descSize() int {
	if s.has(feature64bit) {
		return int(s.DescSize)
	}
	return 32
}

func (s *superblock) seed() uint32 {
	if s.has(featureCsumSeed) {
		return s.ChecksumSeed
	}
	return crc32c(^uint32(0), s.UUID[:])
}

func (s *superblock) writeTime() time.Time {
	return time.Unix(int64(s.WriteTimeHigh)<<32|int64(s.WriteTime), 0)
}

func (s *superblock) label() string {
	label, _, _ := bytes.Cut(s.Label[:], []byte{0})
	return string(label)
}

func superblockSum(raw []byte) uint32 { return crc32c(^uint32(0), raw[:superblockSize-4]) }

// sealSuperblock brings the superblock up to date. Its copies stay as they are,
// as they do when Linux writes.
func (f *FS) sealSuperblock() error {
	block, err := f.edit(blockNumber(superblockOffset / f.blockSize))
	if err != nil {
		return err
	}
	free := f.free()
	s := &f.super
	s.FreeBlocksLow, s.FreeInodes = uint32(free.blocks), uint32(free.inodes)
	if s.has(feature64bit) {
		s.FreeBlocksHigh = uint32(free.blocks >> 32)
	}
	s.WriteTime, s.WriteTimeHigh = uint32(f.now.Unix()), uint8(f.now.Unix()>>32)
	raw := block[superblockOffset%f.blockSize:][:superblockSize]
	if _, err := binary.Encode(raw, binary.LittleEndian, s); err != nil {
		return err
	}
	if s.has(featureMetadataCsum) {
		s.Checksum = superblockSum(raw)
		binary.LittleEndian.PutUint32(raw[superblockSize-4:], s.Checksum)
	}
	return nil
}
