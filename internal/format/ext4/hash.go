package ext4

import "math/bits"

// A hasher computes the hashes of names that order an indexed directory:
// "Directory Hash" of the format's documentation.
type hasher struct {
	version  uint8
	unsigned bool // char
	seed     [4]uint32
}

// Hash versions, as in the root of an index.
const (
	hashLegacy  = 0
	hashHalfMD4 = 1
	hashTEA     = 2
)

// defaultSeed is used when the superblock has none: the one of MD4.
var defaultSeed = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}

// hashEnd is larger than all hashes; the lowest bit is not part of a hash.
const hashEnd = 0xfffffffe

func (h hasher) hash(name []byte) uint32 {
	state := h.seed
	if state == [4]uint32{} {
		state = defaultSeed
	}
	var hash uint32
	switch h.version {
	case hashLegacy:
		hash = h.legacy(name)
	case hashHalfMD4:
		for ; len(name) > 0; name = name[min(32, len(name)):] {
			var in [8]uint32
			h.words(name, in[:])
			halfMD4(&state, &in)
		}
		hash = state[1]
	case hashTEA:
		for ; len(name) > 0; name = name[min(16, len(name)):] {
			var in [4]uint32
			h.words(name, in[:])
			tea(&state, &in)
		}
		hash = state[0]
	}
	if hash &^= 1; hash == hashEnd {
		hash -= 2
	}
	return hash
}

func (h hasher) char(b byte) uint32 {
	if h.unsigned {
		return uint32(b)
	}
	return uint32(int8(b))
}

func (h hasher) legacy(name []byte) uint32 {
	last, previous := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for _, b := range name {
		hash := previous + (last ^ h.char(b)*7152373)
		if hash&0x80000000 != 0 {
			hash -= 0x7fffffff
		}
		previous, last = last, hash
	}
	return last << 1
}

// words fills in from the start of name, four bytes a word, padded with the
// length of what is left.
func (h hasher) words(name []byte, in []uint32) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	name = name[:min(len(name), 4*len(in))]
	for i := range in {
		in[i] = pad
		for _, b := range name[:min(4, len(name))] {
			in[i] = h.char(b) + in[i]<<8
		}
		name = name[min(4, len(name)):]
	}
}

// halfMD4 is MD4 with half the steps.
func halfMD4(state *[4]uint32, in *[8]uint32) {
	rounds := [3]struct {
		f      func(x, y, z uint32) uint32
		add    uint32
		order  [8]int
		rotate [4]int
	}{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := state[0], state[1], state[2], state[3]
	for _, r := range rounds {
		for i, word := range r.order {
			t := bits.RotateLeft32(a+r.f(b, c, d)+in[word]+r.add, r.rotate[i%4])
			a, b, c, d = d, t, b, c
		}
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}

// tea is 16 rounds of the Tiny Encryption Algorithm.
func tea(state *[4]uint32, in *[4]uint32) {
	x, y, sum := state[0], state[1], uint32(0)
	for range 16 {
		sum += 0x9e3779b9
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	state[0] += x
	state[1] += y
}
