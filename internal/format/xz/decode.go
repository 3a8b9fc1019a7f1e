package xz

import (
	"encoding/binary"
	"fmt"
)

// A decoder holds what LZMA2 keeps from one chunk to the next.
type decoder struct {
	model
	litPrevBits uint32 // lc: how many bits of the previous byte select a literal's probabilities
	litPosMask  uint32 // 1<<lp - 1: which bits of the position do
	posMask     uint32 // 1<<pb - 1: the same for all other probabilities

	base int // where in the window the dictionary starts; below 0 once it slid out
	dict int // size of the dictionary
}

var errDistance = fmt.Errorf("%w: match reaches back before the dictionary", ErrCorrupt)

// copySlack is how many bytes decode may write behind its limit.
const copySlack = 32

// The state after a symbol, section "states" of the LZMA specification.
var (
	afterLiteral  = [states]uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}
	afterMatch    = [states]uint8{7, 7, 7, 7, 7, 7, 7, 10, 10, 10, 10, 10}
	afterRep      = [states]uint8{8, 8, 8, 8, 8, 8, 8, 11, 11, 11, 11, 11}
	afterShortRep = [states]uint8{9, 9, 9, 9, 9, 9, 9, 11, 11, 11, 11, 11}
)

// decode decodes an LZMA chunk of n bytes to exactly w[pos:limit]. Behind limit
// are copySlack bytes that it may overwrite.
//
// It is one long function because the dozen variables that it needs for each symbol of a
// few bits would otherwise go through memory. Only steps that take many bits are
// functions of their own.
func (d *decoder) decode(w []byte, pos, limit int, in *[chunkSpan]byte, n uint32) error {
	if in[0] != 0 {
		return fmt.Errorf("%w: chunk starts with %#02x, want 0", ErrCorrupt, in[0])
	}
	rng, code, ip := uint32(1<<32-1), binary.BigEndian.Uint32(in[1:chunkInit]), uint32(chunkInit)
	state := d.state & (states - 1)
	rep0, rep1, rep2, rep3 := d.reps[0], d.reps[1], d.reps[2], d.reps[3]
	for pos < limit && ip <= n {
		posState := uint32(pos-d.base) & d.posMask & (1<<maxPosLog - 1)
		rng, code, ip = normalize(in, rng, code, ip)
		prob := &d.isMatch[state<<maxPosLog|posState]
		p := uint32(*prob)
		bound := rng >> probBits * p
		if code < bound {
			rng, *prob = bound, more(p)
			var prev, sym uint32
			if pos != d.base {
				prev = uint32(w[pos-1])
			}
			context := uint32(pos-d.base)&d.litPosMask<<d.litPrevBits | prev>>(8-d.litPrevBits)
			probs := &d.literal[context&(1<<maxLitLog-1)]
			if state < litStates {
				sym, rng, code, ip = literal(probs, in, rng, code, ip)
			} else {
				sym, rng, code, ip = matchedLiteral(probs, in, rng, code, ip, uint32(w[pos-int(rep0)-1]))
			}
			w[pos] = byte(sym)
			pos++
			state = uint32(afterLiteral[state&(states-1)]) & (states - 1)
			continue
		}
		rng, code, *prob = rng-bound, code-bound, less(p)

		lengths := &d.match
		rng, code, ip = normalize(in, rng, code, ip)
		prob = &d.isRep[state]
		p = uint32(*prob)
		bound = rng >> probBits * p
		isRep := code >= bound
		if isRep {
			rng, code, *prob = rng-bound, code-bound, less(p)
			lengths = &d.rep
			rng, code, ip = normalize(in, rng, code, ip)
			prob = &d.isRep0[state]
			p = uint32(*prob)
			bound = rng >> probBits * p
			if code < bound {
				rng, *prob = bound, more(p)
				rng, code, ip = normalize(in, rng, code, ip)
				prob = &d.isRep0Long[state<<maxPosLog|posState]
				p = uint32(*prob)
				bound = rng >> probBits * p
				if code < bound {
					rng, *prob = bound, more(p)
					if int64(rep0) >= int64(min(pos-d.base, d.dict)) {
						return errDistance
					}
					w[pos] = w[pos-int(rep0)-1]
					pos++
					state = uint32(afterShortRep[state]) & (states - 1)
					continue
				}
				rng, code, *prob = rng-bound, code-bound, less(p)
			} else {
				rng, code, *prob = rng-bound, code-bound, less(p)
				rng, code, ip = normalize(in, rng, code, ip)
				prob = &d.isRep1[state]
				p = uint32(*prob)
				bound = rng >> probBits * p
				if code < bound {
					rng, *prob = bound, more(p)
					rep0, rep1 = rep1, rep0
				} else {
					rng, code, *prob = rng-bound, code-bound, less(p)
					rng, code, ip = normalize(in, rng, code, ip)
					prob = &d.isRep2[state]
					p = uint32(*prob)
					bound = rng >> probBits * p
					if code < bound {
						rng, *prob = bound, more(p)
						rep0, rep1, rep2 = rep2, rep0, rep1
					} else {
						rng, code, *prob = rng-bound, code-bound, less(p)
						rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
					}
				}
			}
			state = uint32(afterRep[state]) & (states - 1)
		} else {
			rng, *prob = bound, more(p)
			state = uint32(afterMatch[state]) & (states - 1)
		}

		var length uint32
		rng, code, ip = normalize(in, rng, code, ip)
		p = uint32(lengths.choice)
		bound = rng >> probBits * p
		if code < bound {
			rng, lengths.choice = bound, more(p)
			length, rng, code, ip = tree(lengths.low[posState][:], in, rng, code, ip)
			length += minMatch
		} else {
			rng, code, lengths.choice = rng-bound, code-bound, less(p)
			rng, code, ip = normalize(in, rng, code, ip)
			p = uint32(lengths.choice2)
			bound = rng >> probBits * p
			if code < bound {
				rng, lengths.choice2 = bound, more(p)
				length, rng, code, ip = tree(lengths.mid[posState][:], in, rng, code, ip)
				length += minMatch + 8
			} else {
				rng, code, lengths.choice2 = rng-bound, code-bound, less(p)
				length, rng, code, ip = tree(lengths.high[:], in, rng, code, ip)
				length += minMatch + 8 + 8
			}
		}

		if !isRep {
			rep1, rep2, rep3 = rep0, rep1, rep2
			rep0, rng, code, ip = tree(d.distSlot[min(length-minMatch, 3)][:], in, rng, code, ip)
			if slot := rep0; slot >= 14 {
				var low uint32
				rep0, rng, code, ip = directBits(slot/2-5, in, rng, code, ip)
				low, rng, code, ip = reverseTree(d.distAlign[:], 4, in, rng, code, ip)
				rep0 = ((2|slot&1)<<(slot/2-5)+rep0)<<4 + low
			} else if slot >= 4 {
				first := (2 | slot&1) << (slot/2 - 1)
				rep0, rng, code, ip = reverseTree(d.distMiddle[first-slot:], int(slot/2-1), in, rng, code, ip)
				rep0 += first
			}
		}
		if int64(rep0) >= int64(min(pos-d.base, d.dict)) {
			return errDistance
		}
		if int(length) > limit-pos {
			return fmt.Errorf("%w: match reaches over the end of its chunk", ErrCorrupt)
		}
		copyMatch(w, pos, int(rep0)+1, int(length))
		pos += int(length)
	}
	_, code, ip = normalize(in, rng, code, ip)
	if pos != limit || ip != n || code != 0 {
		return fmt.Errorf("%w: chunk of %d bytes gives %d too few after %d", ErrCorrupt, n, limit-pos, ip)
	}
	d.state, d.reps = state, [4]uint32{rep0, rep1, rep2, rep3}
	return nil
}

// more is the probability p of a 0 after one was seen, less after a 1.
func more(p uint32) uint16 { return uint16(p + (1<<probBits-p)>>probMove) }
func less(p uint32) uint16 { return uint16(p - p>>probMove) }

// copyMatch copies n bytes to w[pos:] from dist bytes before it, where the two
// may overlap. It writes at most 15 bytes more.
func copyMatch(w []byte, pos, dist, n int) {
	if dist < 16 {
		spread(w, pos, dist, n)
		return
	}
	for end := pos + n; pos < end; pos += 16 {
		*(*[16]byte)(w[pos:]) = *(*[16]byte)(w[pos-dist:])
	}
}

// spread is copyMatch for distances less than 16.
func spread(w []byte, pos, dist, n int) {
	from, end := pos-dist, pos+n
	if dist == 1 { // runs of zeros, mostly
		word := uint64(w[from]) * 0x0101010101010101
		for ; pos < end; pos += 16 {
			binary.LittleEndian.PutUint64(w[pos:], word)
			binary.LittleEndian.PutUint64(w[pos+8:], word)
		}
		return
	}
	for ; pos < end; pos++ {
		w[pos] = w[from]
		from++
	}
}
