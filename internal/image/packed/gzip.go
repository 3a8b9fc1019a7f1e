package packed

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
)

// A gzipPacker makes members (RFC 1952).
type gzipPacker struct{ independent }

func (gzipPacker) pack(contents []byte) ([]byte, error) {
	return encode(contents, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, 6) })
}

// store returns a member with one block, the last, which is not compressed
// (RFC 1951, section 3.2.4).
func (gzipPacker) store(contents []byte) []byte {
	const unknown = 255 // the file system
	member := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unknown, 1}
	size := uint16(len(contents))
	member = binary.LittleEndian.AppendUint16(member, size)
	member = binary.LittleEndian.AppendUint16(member, ^size)
	member = append(member, contents...)
	member = binary.LittleEndian.AppendUint32(member, crc32.ChecksumIEEE(contents))
	return binary.LittleEndian.AppendUint32(member, uint32(len(contents)))
}
