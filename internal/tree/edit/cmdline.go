package edit

import (
	"errors"
	"fmt"
	"strings"
)

// A CommandLine is the words of the kernel command line. A word may hold blanks
// between double quotes, as the kernel reads it.
type CommandLine []string

// ParseCommandLine reads the text of cmdline.txt. The firmware takes the first line
// only, so words on other lines, which the user expected to work, are an error, while
// comments there are not. Errors are also an empty file, and a quotation mark that is
// not closed, behind which the kernel sees one word. Carriage returns and the mark at
// the beginning of a file, which Windows' editor writes, are no part of a word.
func ParseCommandLine(text string) (CommandLine, error) {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	line, rest, _ := strings.Cut(strings.TrimSuffix(text, "\r"), "\n")
	switch {
	case strings.ContainsRune(line, '\r'):
		return nil, errors.New("it has a carriage return within the line: want one line of kernel arguments")
	case strings.ContainsRune(text, 0):
		return nil, errors.New("it has zero bytes: want one line of text")
	case strings.Count(line, `"`)%2 != 0:
		return nil, errors.New("it has a quotation mark that is not closed")
	}
	for i, more := range strings.Split(rest, "\n") {
		if more = strings.TrimSpace(more); more != "" && more[0] != '#' {
			return nil, fmt.Errorf("line %d of it is %.40q: want one line of kernel arguments, and comments behind it at most", i+2, more)
		}
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
