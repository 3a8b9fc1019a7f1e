package lab

// A plainText takes carriage returns and the control sequences of terminals
// (ECMA-48) out of a text that comes in pieces.
type plainText struct{ state escape }

// An escape is how far into a control sequence a text is.
type escape uint8

const (
	noEscape escape = iota
	escaped         // behind ESC
	inCSI           // behind ESC [, up to a letter
	inString        // behind ESC ], P, X, ^ or _, up to BEL or ESC \
)

const (
	esc = 0x1b
	bel = 0x07
)

func (p *plainText) filter(piece []byte) []byte {
	var text []byte
	for _, b := range piece {
		if p.state == noEscape && b != esc {
			if b != '\r' {
				text = append(text, b)
			}
			continue
		}
		p.state = p.state.next(b)
		if p.state == noEscape && b == '\n' { // a sequence that was cut off
			text = append(text, b)
		}
	}
	return text
}

func (e escape) next(b byte) escape {
	switch {
	case b == esc:
		return escaped
	case b == '\n':
		return noEscape
	case e == escaped && b == '[':
		return inCSI
	case e == escaped && (b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_'):
		return inString
	case e == escaped && b >= 0x20 && b < 0x30: // more of it follows, as in ESC ( B
		return escaped
	case e == inCSI && (b < 0x40 || b > 0x7e), e == inString && b != bel:
		return e
	}
	return noEscape
}
