package board

import (
	"fmt"
	"sync"
)

// A Journal is the writes to registers of boards, in order. A nil Journal keeps nothing.
type Journal struct {
	mu     sync.Mutex
	writes []Write
}

// A Write is a byte that was written to a register.
type Write struct {
	Board           string // the name of the chip
	Register, Value byte
	Refused         bool // the board did not acknowledge it
}

// String is in the form "ctrl 0c=03", or "ctrl 0c=03 refused".
func (w Write) String() string {
	text := fmt.Sprintf("%s %02x=%02x", w.Board, w.Register, w.Value)
	if w.Refused {
		text += " refused"
	}
	return text
}

// Take returns what was written since the last Take.
func (j *Journal) Take() []Write {
	j.mu.Lock()
	defer j.mu.Unlock()
	writes := j.writes
	j.writes = nil
	return writes
}

func (j *Journal) note(w Write) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes = append(j.writes, w)
}
