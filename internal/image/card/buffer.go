package card

import "unsafe"

// alignedBuffer returns a buffer at a page of memory, as writing past the page cache
// wants it.
func alignedBuffer(size int) []byte {
	b := make([]byte, size+alignment)
	start := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (alignment - 1)
	return b[start : start+size : start+size]
}
