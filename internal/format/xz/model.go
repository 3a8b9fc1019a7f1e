package xz

const (
	states    = 16 // what the last symbols were; LZMA has 12, indices have four bits
	litStates = 7  // states below it follow a literal
	maxPosLog = 4  // position bits that select probabilities, at most
	maxLitLog = 4  // lc + lp, at most, in LZMA2

	minMatch  = 2
	probInit  = 1 << 10
	probBits  = 11
	probMove  = 5
	rangeTop  = 1 << 24
	chunkInit = 5 // bytes that start the range decoder
)

// A lengths holds the probabilities of the lengths of matches or repetitions.
type lengths struct {
	choice, choice2 uint16
	low, mid        [1 << maxPosLog][8]uint16
	high            [256]uint16
}

// A model is all that LZMA learns from what it has decoded: the state, the
// last four distances and the probabilities that a bit is 0, in 1/2048.
type model struct {
	state uint32
	reps  [4]uint32 // distances less one, the last used first

	probs
}

type probs struct {
	isMatch    [states << maxPosLog]uint16
	isRep0Long [states << maxPosLog]uint16
	isRep      [states]uint16
	isRep0     [states]uint16
	isRep1     [states]uint16
	isRep2     [states]uint16
	distSlot   [4][64]uint16
	distMiddle [128]uint16 // of slots 4 to 13, each at its distance less its number
	distAlign  [16]uint16
	match, rep lengths
	literal    [1 << maxLitLog][0x300]uint16
}

func (l *lengths) reset() {
	l.choice, l.choice2 = probInit, probInit
	for i := range l.low {
		fair(l.low[i][:])
		fair(l.mid[i][:])
	}
	fair(l.high[:])
}

// reset forgets everything.
func (m *model) reset() {
	m.state, m.reps = 0, [4]uint32{}
	for _, p := range [][]uint16{
		m.isMatch[:], m.isRep0Long[:], m.isRep[:], m.isRep0[:], m.isRep1[:], m.isRep2[:],
		m.distMiddle[:], m.distAlign[:],
	} {
		fair(p)
	}
	for i := range m.distSlot {
		fair(m.distSlot[i][:])
	}
	m.match.reset()
	m.rep.reset()
	for i := range m.literal {
		fair(m.literal[i][:])
	}
}

// fair makes 0 and 1 equally likely.
func fair(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}
