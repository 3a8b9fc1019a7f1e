package edit

import (
	"errors"
	"fmt"
	"strings"
)

// A CommandLine is the words of the kernel command line. A word may hold blanks
// between double quotes, as the kernel reads it.
type CommandLine []string

// ParseCommandLine reads the text of cmdline.txt. The firmware takes the first
// line only, so that words on others, which somebody expected to work, are an
// error; so are an empty file and carriage returns, which the kernel would take
// for part of the last word.
func ParseCommandLine(text string) (CommandLine, error) {
	line, rest, _ := strings.Cut(text, "\n")
	switch {
	case strings.ContainsRune(text, '\r'):
		return nil, errors.New("it has carriage returns: want one line that ends in a line feed alone")
	case strings.ContainsRune(text, 0):
		return nil, errors.New("it has zero bytes: want one line of text")
	case strings.TrimSpace(rest) != "":
		return nil, fmt.Errorf("it has %d lines: want one", 1+len(strings.Split(strings.TrimSpace(rest), "\n")))
	}
	words := splitWords(line)
	if len(words) == 0 {
		return nil, errors.New("it is empty: want one line of kernel arguments")
	}
	return words, nil
}

func splitWords(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t')
	})
}

func (c CommandLine) String() string { return strings.Join(c, " ") }
