package disk

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"sync/atomic"
)

// A bitmap has a bit for each block of a disk. Its methods may be called by several
// goroutines at a time, unless they say otherwise.
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

// take clears the bits that are set and yields their numbers.
func (m bitmap) take() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i := range m {
			for word := atomic.SwapUint64(&m[i], 0); word != 0; word &= word - 1 {
				if !yield(int64(i)*64 + int64(bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// A part of a map is a block of it in the file.
const (
	wordsPerPart  = blockSize / 8
	blocksPerPart = blockSize * 8
)

// copyPart takes over the bits of a part of another map of the same size. No other
// goroutine may use m meanwhile.
func (m bitmap) copyPart(from bitmap, part int64) {
	for i := part * wordsPerPart; i < (part+1)*wordsPerPart; i++ {
		m[i] = atomic.LoadUint64(&from[i])
	}
}

// encode returns a part of the map as it is in the file. No other goroutine may change m
// meanwhile.
func (m bitmap) encode(part int64) []byte {
	text := make([]byte, 0, blockSize)
	for _, word := range m[part*wordsPerPart : (part+1)*wordsPerPart] {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	return text
}

// A stretch is a part of a disk for which a bitmap has a bit where one for each block
// would take much memory.
const stretchSize = 16 * blockSize

func newStretches(size int64) bitmap { return make(bitmap, size/stretchSize/64+1) }

// hasStretch tells whether a bit is set of a stretch that a range of the disk is in.
func (m bitmap) hasStretch(offset, length int64) bool {
	for s := offset / stretchSize; s*stretchSize < offset+length; s++ {
		if m.has(s) {
			return true
		}
	}
	return false
}

// setStretch sets the bits of all stretches that a range of the disk is in.
func (m bitmap) setStretch(offset, length int64) {
	for s := offset / stretchSize; s*stretchSize < offset+length; s++ {
		m.set(s)
	}
}
