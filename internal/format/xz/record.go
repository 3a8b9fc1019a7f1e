package xz

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
)

// A record is what the index says about a block, section 4.3.
type record struct {
	unpadded int64 // bytes of the block in the file, without padding
	size     int64 // bytes of its contents
}

// An indexReader reads the parts of an index in order, section 4.
type indexReader struct {
	src *source
	n   int64 // bytes read
	sum uint32
}

func (x *indexReader) takeByte() (byte, error) {
	p, err := x.src.take(1)
	if err != nil {
		return 0, err
	}
	x.n++
	x.sum = crc32.Update(x.sum, crc32.IEEETable, p)
	return p[0], nil
}

// open gives the number of records.
func (x *indexReader) open() (int64, error) {
	indicator, err := x.takeByte()
	if err != nil {
		return 0, err
	}
	if indicator != 0 {
		return 0, fmt.Errorf("%w: starts with %#02x, want 0", ErrCorrupt, indicator)
	}
	return readVLI(x.takeByte)
}

func (x *indexReader) record() (record, error) {
	unpadded, err := readVLI(x.takeByte)
	if err != nil {
		return record{}, err
	}
	size, err := readVLI(x.takeByte)
	if err != nil {
		return record{}, err
	}
	if unpadded < 5 || unpadded > maxVLI-3 {
		return record{}, fmt.Errorf("%w: block of %d bytes", ErrCorrupt, unpadded)
	}
	return record{unpadded, size}, nil
}

// close reads the padding and the CRC.
func (x *indexReader) close() error {
	for x.n%4 != 0 {
		b, err := x.takeByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return fmt.Errorf("%w: padding holds %#02x, want 0", ErrCorrupt, b)
		}
	}
	p, err := x.src.take(4)
	if err != nil {
		return err
	}
	if want := binary.LittleEndian.Uint32(p); x.sum != want {
		return fmt.Errorf("%w: CRC is %08x, want %08x", ErrCorrupt, x.sum, want)
	}
	return nil
}

// A tally remembers any number of records well enough to tell whether others
// are the same.
type tally struct {
	n    int64
	hash hash.Hash
}

func newTally() tally { return tally{0, sha256.New()} }

func (t *tally) add(r record) {
	t.n++
	p := binary.LittleEndian.AppendUint64(nil, uint64(r.unpadded))
	t.hash.Write(binary.LittleEndian.AppendUint64(p, uint64(r.size)))
}

func (t *tally) equal(u tally) bool {
	return t.n == u.n && string(t.hash.Sum(nil)) == string(u.hash.Sum(nil))
}
