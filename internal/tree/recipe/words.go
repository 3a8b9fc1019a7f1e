package recipe

import (
	"iter"
	"slices"
	"strings"

	"clusterctrl/internal/node"
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

// StartsBranding reports whether the text of a cmdline.txt, however else it may be
// damaged, makes the kernel start the branding.
func StartsBranding(text string) bool {
	for start, end := range words(text) {
		if node.IsReconfig(text[start:end]) {
			return true
		}
	}
	return false
}

// BlankBranding overwrites with blanks the words that start the branding, with the
// word behind each if that is its argument, right or wrong. All else stays where it
// is, so that it can be done to any text, in place.
func BlankBranding(text string) string {
	blanked := []byte(text)
	ours := false
	for start, end := range words(text) {
		word := text[start:end]
		argument := ours && IsArgument(word)
		ours = node.IsReconfig(word)
		if ours || argument {
			copy(blanked[start:end], strings.Repeat(" ", end-start))
		}
	}
	return string(blanked)
}

// others are words that systems put into a command line, and that look like our
// argument where the user left that out.
var others = []string{
	"debug", "emergency", "fastboot", "firstboot", "forcefsck", "noresize", "noswap", "quiet",
	"recovery", "rescue", "resize", "ro", "rootwait", "rw", "s", "single", "splash", "textmode",
}

// IsArgument reports whether the word behind the name of reconfig-clusterctrl was
// meant for it: a role, right or wrong.
func IsArgument(word string) bool {
	return !strings.ContainsAny(word, `=."`) && !slices.Contains(others, word)
}
