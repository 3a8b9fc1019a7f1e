package xz

// The functions here decode several bits each. Range and code travel in
// registers, from argument to result; in and ip are the input and where in it
// the decoder is.
//
// What a bit is comes close to a coin toss, so a branch on it would be guessed
// wrong time and again. Of a run of ifs that assign one variable each, as
// below, the compiler makes conditional moves instead. And the probabilities of
// both bits that may come next are loaded before it is known which of them it
// will be. The loops repeat this rather than share it because the compiler does
// not inline a function of this size.

// literal decodes a byte. In the result the ninth bit is set, too.
func literal(probs *[0x300]uint16, in *[chunkSpan]byte, rng, code, ip uint32) (uint32, uint32, uint32, uint32) {
	sym := uint32(1)
	p := uint32(probs[1])
	for sym < 0x100 {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[ip&(chunkSpan-1)])
			ip++
		}
		cell := &probs[sym&0xff]
		sym <<= 1
		p0, p1 := uint32(probs[sym&0xff]), uint32(probs[sym&0xff+1])
		bound := (rng >> probBits) * p
		move, rest, bit := p, code-bound, uint32(1)
		rng -= bound
		if code < bound {
			move = p - (1<<probBits - 1<<probMove + 1)
		}
		if code < bound {
			rng = bound
		}
		if code < bound {
			bit = 0
		}
		if code < bound {
			p1 = p0
		}
		if code < bound {
			rest = code
		}
		*cell = uint16(p - uint32(int32(move)>>probMove))
		p, code = p1, rest
		sym += bit
	}
	return sym, rng, code, ip
}

// matchedLiteral decodes a byte that follows a match. Its probabilities depend
// on the byte that would have continued the match, until a bit differs from it.
// In the result the ninth bit is set, too.
func matchedLiteral(probs *[0x300]uint16, in *[chunkSpan]byte, rng, code, ip, match uint32) (uint32, uint32, uint32, uint32) {
	sym, offset := uint32(1), uint32(0x100)
	for sym < 0x100 {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[ip&(chunkSpan-1)])
			ip++
		}
		match <<= 1
		offset1 := offset & match
		cell := &probs[offset+offset1+sym]
		p := uint32(*cell)
		offset ^= offset1
		bound := (rng >> probBits) * p
		move, rest, bit := p, code-bound, uint32(1)
		rng -= bound
		if code < bound {
			move = p - (1<<probBits - 1<<probMove + 1)
		}
		if code < bound {
			rng = bound
		}
		if code < bound {
			bit = 0
		}
		if code < bound {
			offset1 = offset
		}
		if code < bound {
			rest = code
		}
		*cell = uint16(p - uint32(int32(move)>>probMove))
		offset, code = offset1, rest
		sym += sym + bit
	}
	return sym, rng, code, ip
}

// tree decodes a number of as many bits as it takes to index probs, the
// highest bit first.
func tree(probs []uint16, in *[chunkSpan]byte, rng, code, ip uint32) (uint32, uint32, uint32, uint32) {
	sym := 1
	p := uint32(probs[1])
	for sym < len(probs) {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[ip&(chunkSpan-1)])
			ip++
		}
		cell := &probs[sym]
		sym <<= 1
		pair := probs[sym&(len(probs)-1):]
		p0, p1 := uint32(pair[0]), uint32(pair[1])
		bound := (rng >> probBits) * p
		move, rest, bit := p, code-bound, 1
		rng -= bound
		if code < bound {
			move = p - (1<<probBits - 1<<probMove + 1)
		}
		if code < bound {
			rng = bound
		}
		if code < bound {
			bit = 0
		}
		if code < bound {
			p1 = p0
		}
		if code < bound {
			rest = code
		}
		*cell = uint16(p - uint32(int32(move)>>probMove))
		p, code = p1, rest
		sym += bit
	}
	return uint32(sym - len(probs)), rng, code, ip
}

// reverseTree decodes a number of n bits, the lowest first.
func reverseTree(probs []uint16, n int, in *[chunkSpan]byte, rng, code, ip uint32) (uint32, uint32, uint32, uint32) {
	sym, value := 1, uint32(0)
	for place := uint32(1); place < 1<<n; place <<= 1 {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[ip&(chunkSpan-1)])
			ip++
		}
		cell := &probs[sym]
		p := uint32(*cell)
		bound := (rng >> probBits) * p
		move, rest, bit, set := p, code-bound, 1, value|place
		rng -= bound
		if code < bound {
			move = p - (1<<probBits - 1<<probMove + 1)
		}
		if code < bound {
			rng = bound
		}
		if code < bound {
			bit = 0
		}
		if code < bound {
			set = value
		}
		if code < bound {
			rest = code
		}
		*cell = uint16(p - uint32(int32(move)>>probMove))
		code, value = rest, set
		sym += sym + bit
	}
	return value, rng, code, ip
}

// directBits decodes a number of n bits that are 0 or 1 equally often.
func directBits(n uint32, in *[chunkSpan]byte, rng, code, ip uint32) (uint32, uint32, uint32, uint32) {
	value := uint32(0)
	for ; n > 0; n-- {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[ip&(chunkSpan-1)])
			ip++
		}
		rng >>= 1
		code -= rng
		borrow := -(code >> 31) // all ones if the bit is 0
		code += rng & borrow
		value = value<<1 + borrow + 1
	}
	return value, rng, code, ip
}

// normalize makes rng large enough to be divided once more.
func normalize(in *[chunkSpan]byte, rng, code, ip uint32) (uint32, uint32, uint32) {
	if rng < rangeTop {
		return rng << 8, code<<8 | uint32(in[ip&(chunkSpan-1)]), ip + 1
	}
	return rng, code, ip
}
