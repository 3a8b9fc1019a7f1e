package firstboot

import (
	"iter"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
)

// words yields where the words of a command line start and end, whatever else
// is wrong with it. As the kernel reads it, blanks between double quotes are
// part of a word.
func words(text string) iter.Seq2[int, int] {
	return func(yield func(start, end int) bool) {
		start, quoted := -1, false
		for i := range len(text) {
			switch c := text[i]; {
			case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
				if start >= 0 && !yield(start, i) {
					return
				}
				start = -1
				continue
			case c == '"':
				quoted = !quoted
			}
			if start < 0 {
				start = i
			}
		}
		if start >= 0 {
			yield(start, len(text))
		}
	}
}

// asksForBranding says whether a command line starts this program.
func asksForBranding(text string) bool {
	for start, end := range words(text) {
		if node.IsReconfig(text[start:end]) {
			return true
		}
	}
	return false
}

// blankBranding overwrites with blanks the words that start this program, with
// the word behind each if that is its argument, right or wrong. All else stays
// where it is, so that it can be done to any text, in place.
func blankBranding(text string) string {
	blanked := []byte(text)
	ours := false
	for start, end := range words(text) {
		word := text[start:end]
		argument := ours && recipe.IsArgument(word)
		ours = node.IsReconfig(word)
		if ours || argument {
			copy(blanked[start:end], strings.Repeat(" ", end-start))
		}
	}
	return string(blanked)
}

// padLine makes a line n bytes long, by blanks at its end.
func padLine(line string, n int) string {
	body := strings.TrimSuffix(line, "\n")
	if len(line) >= n {
		return line
	}
	return body + strings.Repeat(" ", n-len(body)-1) + "\n"
}
