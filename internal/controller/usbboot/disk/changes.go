package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"clusterctrl/internal/format/mbr"
)

// A file of changes holds the blocks that a node has written. Each is read in place of the
// block of the base at the same offset. The base itself is never changed:
//
//	0       header, one block
//	4096    map: a bit for each block of the disk, the lowest of each byte first
//	data    the blocks that were written, each at its own place; the rest is a hole
//
// A block whose bit is set is read from this file, any other from the base or, behind the
// end of the base, as zeros. Where data starts follows from the disk's size.
const (
	blockSize = 4096
	magic     = "clusterctrl disk"
	version   = 1
)

// A header is a file's first bytes, little-endian, its checksum last.
type header struct {
	Magic    [16]byte
	Version  uint32
	Block    uint32 // size of a block in bytes
	Size     int64  // of the disk, in bytes
	Base     Base
	First    Sector // which the disk began with
	Checksum uint32 // CRC-32 (IEEE) of what is before it
}

// A Base is an image that disks share. None of them changes it.
type Base struct {
	Size int64             // in bytes
	Sum  [sha256.Size]byte // the SHA-256 of its bytes, by which it is known
}

// A Sector is the sector of an image by which the image becomes that of one node. It is the
// first change in a node's file of changes, also after a reset.
type Sector struct {
	Offset int64
	Data   [mbr.SectorSize]byte
}

// ErrChanges is wrapped by errors about a file that holds no changes, or damaged
// ones.
var ErrChanges = errors.New("not a disk's changes")

func newHeader(size int64, base Base, first Sector) header {
	h := header{Version: version, Block: blockSize, Size: size, Base: base, First: first}
	copy(h.Magic[:], magic)
	return h
}

// encode returns the header's block.
func (h header) encode() ([]byte, error) {
	buf, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		return nil, err
	}
	sum := buf[:len(buf)-4]
	binary.LittleEndian.PutUint32(buf[len(sum):], crc32.ChecksumIEEE(sum))
	return append(buf, make([]byte, blockSize-len(buf))...), nil
}

// maxSize bounds the size of a disk, and so that of its map in memory: 2 TiB, which
// is what a table of partitions in the first sector can describe.
const maxSize = 2 << 40

// readHeader reads and checks a file's header.
func readHeader(from io.ReaderAt) (header, error) {
	buf := make([]byte, binary.Size(header{}))
	if _, err := from.ReadAt(buf, 0); err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrChanges, err)
	}
	var h header
	if _, err := binary.Decode(buf, binary.LittleEndian, &h); err != nil {
		return header{}, err
	}
	switch {
	case !bytes.Equal(h.Magic[:], []byte(magic)):
		return header{}, fmt.Errorf("%w: it begins with %.16q", ErrChanges, h.Magic)
	case h.Version != version:
		return header{}, fmt.Errorf("%w: version %d, want %d", ErrChanges, h.Version, version)
	case h.Checksum != crc32.ChecksumIEEE(buf[:len(buf)-4]):
		return header{}, fmt.Errorf("%w: its header is damaged", ErrChanges)
	case h.Block != blockSize || h.Size <= 0 || h.Size > maxSize || h.Size%blockSize != 0 || h.Base.Size < 0 || h.Base.Size > h.Size:
		return header{}, fmt.Errorf("%w: %d bytes in blocks of %d over a base of %d", ErrChanges, h.Size, h.Block, h.Base.Size)
	case h.First.Offset < 0 || h.First.Offset > h.Size-mbr.SectorSize:
		return header{}, fmt.Errorf("%w: a sector at %d of %d bytes", ErrChanges, h.First.Offset, h.Size)
	}
	return h, nil
}

// mapSize is the size of the map of a disk of size bytes, in whole blocks.
func mapSize(size int64) int64 {
	bits := size / blockSize
	return roundUp((bits+7)/8, blockSize)
}

// dataStart is where the blocks of a disk of size bytes are in its file of changes.
func dataStart(size int64) int64 { return blockSize + mapSize(size) }

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
