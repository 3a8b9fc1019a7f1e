package ext4

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func TestRecordSizes(t *testing.T) {
	for _, tt := range []struct {
		record any
		want   int
	}{
		{superblock{}, superblockSize},
		{descriptor{}, longDescriptor},
		{inodeRecord{}, inodeRecordSize},
		{extentHeader{}, extentHeaderSize},
		{indexRoot{}, 8},
		{xattrHeader{}, xattrHeaderSize},
		{xattrEntry{}, xattrEntrySize},
	} {
		if got := binary.Size(tt.record); got != tt.want {
			t.Errorf("%T takes %d bytes, want %d", tt.record, got, tt.want)
		}
	}
}

// TestHash compares hashes of names with those of debugfs, which only knows
// signed chars, and only their high bits if a name has some.
func TestHash(t *testing.T) {
	for version, alg := range []string{"legacy", "half_md4", "tea"} {
		for _, length := range []int{1, 3, 4, 15, 16, 17, 31, 32, 33, 64, 100, 255} {
			for _, char := range []string{"a", "\xc3"} {
				name := strings.Repeat(char, length)
				out := run(t, "debugfs", "-R", fmt.Sprintf("dx_hash -h %s -s 11111111-2222-3333-4444-555555555555 %s", alg, name))
				_, out, _ = strings.Cut(out, " is 0x")
				out, _, _ = strings.Cut(out, " ")
				want, err := strconv.ParseUint(out, 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				h := hasher{version: uint8(version), seed: [4]uint32{0x11111111, 0x33332222, 0x55554444, 0x55555555}}
				if got := h.hash([]byte(name)); got != uint32(want) {
					t.Errorf("%s hash of %d times %q is %#x, want %#x", alg, length, char, got, want)
				}
			}
		}
	}
}

// TestUnsignedHash checks that the hash of a name depends on whether chars are signed,
// and only if the name has some above 127. Linux has no published values to compare with:
// TestLargeDirectory has Linux judge the rest.
func TestUnsignedHash(t *testing.T) {
	for version := range uint8(3) {
		signed, unsigned := hasher{version: version}, hasher{version: version, unsigned: true}
		if signed.hash([]byte("name")) != unsigned.hash([]byte("name")) {
			t.Errorf("version %d: hashes of an ASCII name differ", version)
		}
		if signed.hash([]byte("n\xe4me")) == unsigned.hash([]byte("n\xe4me")) {
			t.Errorf("version %d: hashes of a name with a byte above 127 are the same", version)
		}
	}
}
