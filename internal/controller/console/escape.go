package console

const tilde = '~'

// An action is what the user wants of this program, not of the node.
type action int

const (
	none action = iota
	end
	help
)

// An escape finds commands of the user to this program: a ~ at the start of a line, and
// the letter behind it.
type escape struct {
	lineStart bool
	pending   bool // a ~ that is not sent yet
}

// next takes a byte of the keyboard. It returns the bytes to send to the node, and what
// this program has to do.
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
