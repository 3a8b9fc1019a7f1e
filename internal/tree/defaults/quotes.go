package defaults

import "fmt"

// Quotes follows the quotation marks of a shell's text, character by character.
type Quotes struct {
	Open rune // the mark that a closing one is awaited for, 0 for none
}

// Mark takes the next character, and reports whether it opens or closes a quotation.
func (q *Quotes) Mark(c rune) bool {
	switch {
	case q.Open == 0 && (c == '\'' || c == '"'):
		q.Open = c
	case q.Open != 0 && c == q.Open:
		q.Open = 0
	default:
		return false
	}
	return true
}

// Err says at the end of the text that a quotation was not closed.
func (q *Quotes) Err() error {
	if q.Open != 0 {
		return fmt.Errorf("no closing %c", q.Open)
	}
	return nil
}
