package xz

import (
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
)

// dictExponents are how a block header writes the size of a dictionary, section 5.3.1.
const (
	dict4KiB = 0
	dict8MiB = 22
)

// BlockDict is the largest dictionary that the data in a block of [NewBlock] may
// need, in bytes.
const BlockDict = 8 << 20

// maxStored is how much an LZMA2 chunk holds that is not compressed, in bytes.
const maxStored = 1 << 16

// NewBlock returns a block of contents, given the contents and the data that an LZMA2
// encoder made of them. The block has both sizes in its header, so that several blocks
// can be decoded at a time.
func NewBlock(lzma2, contents []byte) []byte {
	return newBlock(lzma2, contents, dict8MiB)
}

// NewStoredBlock returns a block that holds up to 64 KiB uncompressed. Contents of the
// same size make blocks of the same size.
func NewStoredBlock(contents []byte) []byte {
	if len(contents) == 0 || len(contents) > maxStored {
		panic("a stored block holds 1 to 65536 bytes")
	}
	// A chunk that resets the dictionary, and the end of chunks.
	lzma2 := binary.BigEndian.AppendUint16([]byte{1}, uint16(len(contents)-1))
	lzma2 = append(append(lzma2, contents...), 0)
	return newBlock(lzma2, contents, dict4KiB)
}

// newBlock returns a block, section 3.
func newBlock(payload, contents []byte, dict byte) []byte {
	const bothSizes = 0xc0
	block := []byte{0, bothSizes}
	block = binary.AppendUvarint(block, uint64(len(payload)))
	block = binary.AppendUvarint(block, uint64(len(contents)))
	block = pad(append(block, lzma2, 1, dict))
	block[0] = byte(len(block) / 4) // with the CRC that follows, less one
	block = binary.LittleEndian.AppendUint32(block, crc32.ChecksumIEEE(block))
	block = pad(append(block, payload...))
	return binary.LittleEndian.AppendUint64(block, crc64.Checksum(contents, crc64Table))
}

func pad(p []byte) []byte {
	return append(p, make([]byte, padded(int64(len(p)))-int64(len(p)))...)
}

// A Stream puts a file of one stream together: its Header, blocks, of which each
// is noted by Add, and its Footer.
type Stream struct{ records []record }

func streamFlags() []byte { return []byte{0, byte(checkCRC64)} }

// Header returns what comes before the first block.
func (s *Stream) Header() []byte {
	header := append([]byte(headerMagic), streamFlags()...)
	return binary.LittleEndian.AppendUint32(header, crc32.ChecksumIEEE(streamFlags()))
}

// Add notes the next block of the file, one of [NewBlock] or [NewStoredBlock].
func (s *Stream) Add(block []byte) {
	size := (int(block[0]) + 1) * 4
	h, err := parseBlockHeader(block[:size])
	if err != nil {
		panic(err) // it is not one of those
	}
	s.records = append(s.records, record{int64(size) + h.packed + int64(checkCRC64.size()), h.size})
}

// Footer returns what comes behind the last block: index and footer.
func (s *Stream) Footer() []byte {
	index := binary.AppendUvarint([]byte{0}, uint64(len(s.records)))
	for _, r := range s.records {
		index = binary.AppendUvarint(index, uint64(r.unpadded))
		index = binary.AppendUvarint(index, uint64(r.size))
	}
	index = pad(index)
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, streamFlags()...)
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(footer))
	return append(append(index, footer...), footerMagic...)
}
