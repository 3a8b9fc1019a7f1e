// Package xz decompresses .xz files, as fast as one core or all of them allow.
//
// A published disk image is one stream of many blocks, and an index at the end
// says where each of them lies. [OpenIndex] reads it, and [Index.Decode] lets
// several workers take whole blocks. An input without an index at hand (a pipe) goes
// through a [Reader]. Both use the same decoder of LZMA2 chunks.
//
// Everything a file says about itself is checked: every CRC, size, padding and
// the check behind each block. Memory grows with the bytes that have been read and
// decoded, up to limits, whatever sizes the file claims.
//
// The format is described in "The .xz File Format", version 1.2.0. The filters
// that xz puts in front of LZMA2 on request (delta, x86, ARM and the like) and
// the older .lzma format are not decoded.
package xz

import (
	"errors"
	"fmt"
	"io"
)

// ErrCorrupt is wrapped by every error that says the input is no .xz file, a
// damaged one or one that is cut off. The last wraps [io.ErrUnexpectedEOF] too.
var ErrCorrupt = errors.New("corrupt xz file")

// DefaultMaxDict is the largest dictionary that any of xz's presets asks for
// (-9), in bytes.
const DefaultMaxDict = 64 << 20

// errCutOff says that the input ends too early.
var errCutOff = fmt.Errorf("%w: %w", ErrCorrupt, io.ErrUnexpectedEOF)

// padded rounds a size up to the four bytes that every part of a file fills.
func padded(n int64) int64 { return (n + 3) &^ 3 }

// isZero says whether p holds nothing but zeros, as all padding must.
func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
