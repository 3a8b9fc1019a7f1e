package console

const tilde = '~'

// An action is what the user wants of this program, not of the node.
type action int

const (
	none action = iota
	end
	help
)

// An escape finds what the user says to this program: a ~ at the start of a line,
// and what follows it.
type escape struct {
	lineStart bool
	pending   bool // a ~ that is not sent yet
}

// next takes a byte of the keyboard. It returns what the node gets of it, and
// what is to be done.
func (e *escape) next(b byte) (send []byte, what action) {
	if e.pending {
		e.pending = false
		switch b {
		case '.':
			return nil, end
		case '?':
			e.lineStart = true
			return nil, help
		case tilde:
			e.lineStart = false
			return []byte{tilde}, none
		}
		send = []byte{tilde}
	} else if e.lineStart && b == tilde {
		e.pending = true
		return nil, none
	}
	e.lineStart = b == '\r' || b == '\n'
	return append(send, b), none
}
