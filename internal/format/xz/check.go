package xz

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"slices"
)

// A checkKind says how the contents of a stream's blocks are checked.
type checkKind byte

const (
	checkNone   checkKind = 0
	checkCRC32  checkKind = 1
	checkCRC64  checkKind = 4
	checkSHA256 checkKind = 10
)

var crc64Table = crc64.MakeTable(crc64.ECMA)

// size is how many bytes of check follow each block.
func (k checkKind) size() int {
	switch k {
	case checkCRC32:
		return crc32.Size
	case checkCRC64:
		return crc64.Size
	case checkSHA256:
		return sha256.Size
	}
	return 0
}

// A check sums up the contents of a block.
type check struct {
	kind checkKind
	hash hash.Hash // nil if kind is checkNone
}

func newCheck(k checkKind) (check, error) {
	switch k {
	case checkNone:
		return check{k, nil}, nil
	case checkCRC32:
		return check{k, crc32.NewIEEE()}, nil
	case checkCRC64:
		return check{k, crc64.New(crc64Table)}, nil
	case checkSHA256:
		return check{k, sha256.New()}, nil
	}
	return check{}, fmt.Errorf("check of kind %d: %w", k, errors.ErrUnsupported)
}

func (c check) add(p []byte) {
	if c.hash != nil {
		c.hash.Write(p)
	}
}

// verify compares what was added with the check stored in a file. The format
// stores CRCs with the lowest byte first, hash.Hash gives the highest first.
func (c check) verify(stored []byte) error {
	if c.hash == nil {
		return nil
	}
	sum := c.hash.Sum(nil)
	if c.kind != checkSHA256 {
		slices.Reverse(sum)
	}
	if !bytes.Equal(sum, stored) {
		return fmt.Errorf("%w: contents have check %x, want %x", ErrCorrupt, sum, stored)
	}
	return nil
}
