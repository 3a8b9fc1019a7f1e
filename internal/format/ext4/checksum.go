package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues crc over p. Unlike [crc32.Update] it does not invert the
// value before and after, as Linux does not.
func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

func crc32cUint32(crc, v uint32) uint32 {
	return crc32c(crc, binary.LittleEndian.AppendUint32(nil, v))
}

// crc16 continues crc, reversed polynomial 0xa001, over p.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			crc = crc>>1 ^ 0xa001*(crc&1)
		}
	}
	return crc
}
