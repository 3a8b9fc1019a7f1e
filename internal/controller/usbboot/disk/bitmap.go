package disk

import (
	"encoding/binary"
	"sync/atomic"
)

// A bitmap has a bit for each block of a disk.
type bitmap []uint64

func newBitmap(size int64) bitmap { return make(bitmap, mapSize(size)/8) }

func (m bitmap) has(block int64) bool {
	return atomic.LoadUint64(&m[block/64])>>(block%64)&1 != 0
}

// set sets a bit, and tells whether it was not set before.
func (m bitmap) set(block int64) bool {
	bit := uint64(1) << (block % 64)
	return atomic.OrUint64(&m[block/64], bit)&bit == 0
}

// decode takes the bits from the map of a file.
func (m bitmap) decode(text []byte) {
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(text[i*8:])
	}
}

// encode returns a block of the map of a file, counted from 0.
func (m bitmap) encode(part int64) []byte {
	const words = blockSize / 8
	text := make([]byte, 0, blockSize)
	for _, word := range m[part*words : (part+1)*words] {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	return text
}
