package lab

import (
	"bytes"
	"regexp"
)

// A looker looks for something in what a console shows. It must find the same
// whether the text comes at once or grows byte by byte.
type looker func(shown []byte) found

// A found tells what a looker found and where it ends. If it found nothing, end
// tells how much of the text need not be looked at again.
type found struct {
	text string
	end  int
	ok   bool
}

// A finder finds the first of something that lies within a line, and returns it
// and where it ends, or 0.
type finder func(text []byte) (end int, match string)

// lineThat finds a whole line that is wanted.
func lineThat(wanted func(line string) bool) finder {
	return func(text []byte) (end int, match string) {
		for {
			i := bytes.IndexByte(text[end:], '\n')
			if i < 0 {
				return 0, ""
			}
			line := string(text[end : end+i])
			end += i + 1
			if wanted(line) {
				return end, line
			}
		}
	}
}

// stamp is the time that the kernel puts before its messages.
const stamp = `\[ *\d+\.\d{6}\] `

var (
	// kernelLine is a message of the kernel, wherever in a line it begins.
	kernelLine = regexp.MustCompile(stamp + `[^\n]*\n`)

	// garble is what has no place between lines of base64: everything from a
	// foreign byte to the end of its line.
	garble = regexp.MustCompile(`[^A-Za-z0-9+/=\n][^\n]*\n`)
)

// either finds what stands in the text as it is, or without the kernel's
// messages, whichever ends first.
func either(find finder) looker {
	return func(shown []byte) found {
		f := without(kernelLine, find)(shown)
		if end, match := find(shown); end > 0 && (!f.ok || end <= f.end) {
			return found{match, end, true}
		}
		return f
	}
}

// quiet finds what stands in base64 once everything else is taken out.
func quiet(find finder) looker { return without(garble, find) }

// without finds something in a text less the noise in it, which is whole lines
// or their ends.
func without(noise *regexp.Regexp, find finder) looker {
	return func(shown []byte) found {
		text, at := takeOut(noise, shown)
		if end, match := find(text); end > 0 {
			return found{match, at[end-1] + 1, true}
		}
		passed := bytes.LastIndexByte(shown, '\n') + 1
		if open := bytes.LastIndexByte(text, '\n') + 1; open < len(text) {
			passed = min(passed, at[open])
		}
		return found{end: passed}
	}
}

// takeOut returns text less the noise in it, and where in text each byte was.
func takeOut(noise *regexp.Regexp, text []byte) (rest []byte, at []int) {
	keep := func(from, to int) {
		for i := from; i < to; i++ {
			rest, at = append(rest, text[i]), append(at, i)
		}
	}
	from := 0
	for _, m := range noise.FindAllIndex(text, -1) {
		keep(from, m[0])
		from = m[1]
	}
	keep(from, len(text))
	return rest, at
}
