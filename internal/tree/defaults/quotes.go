package defaults

import (
	"fmt"
	"strings"
)

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

// Quote returns a word as a shell reads it. It adds quotes only where a shell, or [Text],
// would take the word for something else.
func Quote(word string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,:/+-"
	if strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
}
