package xz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	headerMagic = "\xfd7zXZ\x00"
	footerMagic = "YZ"
	headerSize  = 12 // of a stream, the same as its footer's
	maxVLI      = 1<<63 - 1
)

// parseHeader parses a stream header, section 2.1.1.
func parseHeader(p []byte) (checkKind, error) {
	if string(p[:6]) != headerMagic {
		return 0, fmt.Errorf("%w: stream starts with % x, want % x", ErrCorrupt, p[:6], headerMagic)
	}
	if got, want := crc32.ChecksumIEEE(p[6:8]), binary.LittleEndian.Uint32(p[8:]); got != want {
		return 0, fmt.Errorf("%w: stream header has CRC %08x, want %08x", ErrCorrupt, got, want)
	}
	return parseFlags(p[6:8])
}

// parseFooter parses a stream footer, section 2.1.2. It gives the size of the
// index in front of it.
func parseFooter(p []byte) (checkKind, int64, error) {
	if string(p[10:12]) != footerMagic {
		return 0, 0, fmt.Errorf("%w: stream ends with % x, want % x", ErrCorrupt, p[10:12], footerMagic)
	}
	if got, want := crc32.ChecksumIEEE(p[4:10]), binary.LittleEndian.Uint32(p); got != want {
		return 0, 0, fmt.Errorf("%w: stream footer has CRC %08x, want %08x", ErrCorrupt, got, want)
	}
	k, err := parseFlags(p[8:10])
	return k, (int64(binary.LittleEndian.Uint32(p[4:])) + 1) * 4, err
}

func parseFlags(p []byte) (checkKind, error) {
	if p[0] != 0 || p[1] > 15 {
		return 0, fmt.Errorf("stream flags %#02x %#02x: %w", p[0], p[1], errors.ErrUnsupported)
	}
	_, err := newCheck(checkKind(p[1]))
	return checkKind(p[1]), err
}

// A blockHeader is the header of a block, section 3.1.
type blockHeader struct {
	packed int64 // size of the payload, -1 if not told
	size   int64 // size of its contents, -1 if not told
	dict   int64 // size of the dictionary
}

// A fields walks the fields of a block header. After an error it gives zeros.
type fields struct {
	p   []byte
	err error
}

// take gives the next n bytes.
func (f *fields) take(n int64) []byte {
	if f.err == nil && n > int64(len(f.p)) {
		f.err = fmt.Errorf("%w: block header ends within a field", ErrCorrupt)
	}
	if f.err != nil {
		return nil
	}
	p := f.p[:n]
	f.p = f.p[n:]
	return p
}

// vli gives the next number, section 1.2.
func (f *fields) vli() int64 {
	n, err := readVLI(func() (byte, error) {
		if p := f.take(1); len(p) > 0 {
			return p[0], nil
		}
		return 0, f.err
	})
	if f.err == nil {
		f.err = err
	}
	return n
}

// readVLI reads a number of variable length, section 1.2.
func readVLI(next func() (byte, error)) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := next()
		if err != nil {
			return 0, err
		}
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b == 0 && shift > 0 {
				return 0, fmt.Errorf("%w: number %d ends with a needless zero", ErrCorrupt, n)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: number of more than 63 bits", ErrCorrupt)
}

// readBlockHeader reads the header at the source's next byte.
func readBlockHeader(src *source) (blockHeader, error) {
	if src.fill(1) < 1 {
		return blockHeader{}, src.short()
	}
	p, err := src.take((int(src.buf[src.pos]) + 1) * 4)
	if err != nil {
		return blockHeader{}, err
	}
	return parseBlockHeader(p)
}

// parseBlockHeader parses a whole block header with its size byte and CRC.
func parseBlockHeader(p []byte) (blockHeader, error) {
	body, sum := p[:len(p)-4], binary.LittleEndian.Uint32(p[len(p)-4:])
	if got := crc32.ChecksumIEEE(body); got != sum {
		return blockHeader{}, fmt.Errorf("%w: block header has CRC %08x, want %08x", ErrCorrupt, got, sum)
	}
	flags, f := body[1], fields{p: body[2:]}
	if flags&0x3c != 0 {
		return blockHeader{}, fmt.Errorf("block flags %#02x: %w", flags, errors.ErrUnsupported)
	}
	h := blockHeader{packed: -1, size: -1}
	if flags&0x40 != 0 {
		if h.packed = f.vli(); f.err == nil && h.packed == 0 {
			return blockHeader{}, fmt.Errorf("%w: block of no bytes", ErrCorrupt)
		}
	}
	if flags&0x80 != 0 {
		h.size = f.vli()
	}
	var err error
	if h.dict, err = f.filters(int(flags&3) + 1); err != nil {
		return blockHeader{}, err
	}
	if !isZero(f.p) {
		return blockHeader{}, fmt.Errorf("block header with data in its padding: %w", errors.ErrUnsupported)
	}
	return h, nil
}

// filterNames are the filters that liblzma knows besides LZMA2.
var filterNames = map[int64]string{
	3: "delta", 4: "x86", 5: "PowerPC", 6: "IA-64", 7: "ARM", 8: "ARM-Thumb", 9: "SPARC", 10: "ARM64", 11: "RISC-V",
}

const lzma2 = 0x21

// filters reads the n filters of a block and gives the size of the dictionary
// of the only one allowed, LZMA2 (section 5.3.1).
func (f *fields) filters(n int) (dict int64, err error) {
	id, props := f.vli(), f.take(f.vli())
	if f.err != nil {
		return 0, f.err
	}
	if name := filterNames[id]; id != lzma2 {
		return 0, fmt.Errorf("filter %#x %s: %w", id, name, errors.ErrUnsupported)
	}
	if n != 1 || len(props) != 1 || props[0] > 40 {
		return 0, fmt.Errorf("%w: %d filters, LZMA2 first with properties % x", ErrCorrupt, n, props)
	}
	if props[0] == 40 {
		return 1<<32 - 1, nil
	}
	return (2 | int64(props[0]&1)) << (props[0]/2 + 11), nil
}
