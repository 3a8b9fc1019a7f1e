// Package defaults reads and writes the settings file of a Pi of a cluster,
// /etc/default/clusterctrl: lines KEY=value, as shells read them as far as no
// shell is needed. The reader and the writer find a key by the same rules, so
// that what one writes is what the other reads.
//
// A line sets one key. It may be indented and start with the word export. The
// value may be quoted, and ends at a semicolon, at a comment behind a blank, or
// with the line; unlike in a shell, it may have blanks without quotes. Of several
// lines with one key the last counts. Keys are matched whole: CLUSTERID and #ID
// are not ID. Every other line is its owner's.
package defaults

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Text is the text of a settings file.
type Text string

// maxSize is what [Read] reads at most, in bytes. The template has one KiB.
const maxSize = 1 << 20

// Read reads the settings file of a name.
func Read(name string) (Text, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSize {
		return "", fmt.Errorf("%s: want settings of at most %d bytes", name, maxSize)
	}
	return Text(text), nil
}

// Value returns the value of a key, empty if no line sets it.
func (t Text) Value(key string) (string, error) {
	value, n := "", 0
	for line := range strings.Lines(string(t)) {
		n++
		start, end, ok := find(line, key)
		if !ok {
			continue
		}
		var err error
		if value, err = unquote(line[start:end]); err != nil {
			return "", fmt.Errorf("line %d: %s: %w", n, key, err)
		}
	}
	return value, nil
}

// Set returns the text with the value for the key, a single line, in each line
// that sets the key, or in a new one at the end. What else those lines hold stays.
func (t Text) Set(key, value string) Text {
	var b strings.Builder
	found := false
	for line := range strings.Lines(string(t)) {
		if start, end, ok := find(line, key); ok {
			found = true
			line = line[:start] + Quote(value) + line[end:]
		}
		b.WriteString(line)
	}
	if !found {
		if t != "" && !strings.HasSuffix(string(t), "\n") {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s=%s\n", key, Quote(value))
	}
	return Text(b.String())
}

const (
	byteOrderMark = "\ufeff" // Windows' editors put one in front of a file
	blanks        = " \t\r\n"
)

// find tells whether a line sets the key, and where in it the value is, with its
// quotes.
func find(line, key string) (start, end int, ok bool) {
	rest := strings.TrimLeft(strings.TrimPrefix(line, byteOrderMark), blanks)
	if name, exported := strings.CutPrefix(rest, "export"); exported && strings.IndexAny(name, blanks) == 0 {
		rest = strings.TrimLeft(name, blanks)
	}
	value, ok := strings.CutPrefix(rest, key+"=")
	start = len(line) - len(value)
	return start, start + valueLen(value), ok
}

// valueLen returns how long the value is that a text starts with. A quote that is
// not closed goes on to the end of the line.
func valueLen(text string) int {
	text = strings.TrimRight(text, blanks)
	var quotes Quotes
	blank := false
	for i, r := range text {
		if !quotes.Mark(r) && quotes.Open == 0 && (r == ';' || r == '#' && blank) {
			return len(strings.TrimRight(text[:i], blanks))
		}
		blank = quotes.Open == 0 && strings.ContainsRune(blanks, r)
	}
	return len(text)
}

// unquote takes the quotes out of a value.
func unquote(value string) (string, error) {
	var plain []byte
	var quotes Quotes
	for _, c := range []byte(value) {
		if !quotes.Mark(rune(c)) {
			plain = append(plain, c)
		}
	}
	return string(plain), quotes.Err()
}
