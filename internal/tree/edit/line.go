package edit

import (
	"fmt"
	"slices"
	"strings"

	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/rootfs"
)

// Line makes a file hold one line with Prefix, namely Text, which starts with
// it. The first line with the prefix becomes Text, others go; where there is
// none, it is appended. A prefix ends where a word does: 127.0.1.10 does not have
// the prefix 127.0.1.1.
type Line struct{ Name, Prefix, Text string }

func (l Line) String() string { return fmt.Sprintf("set line %q in %s", l.Text, l.Name) }

func (l Line) Apply(tree rootfs.Tree) error {
	old, err := readText(tree, l.Name)
	if err != nil {
		return err
	}
	var lines []string
	found := false
	for line := range strings.Lines(old) {
		switch {
		case !hasWords(line, l.Prefix):
			lines = append(lines, line)
		case !found:
			found = true
			lines = append(lines, l.Text+"\n")
		}
	}
	text := strings.Join(lines, "")
	if !found {
		text = endLine(text) + l.Text + "\n"
	}
	return writeText(tree, l.Name, old, text)
}

// hasWords reports whether a line starts with prefix and no word goes on behind
// it.
func hasWords(line, prefix string) bool {
	rest, ok := strings.CutPrefix(line, prefix)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n"))
}

// endLine gives the last line of a text its newline.
func endLine(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// Setting gives a key of a settings file a value, as package defaults writes it.
type Setting struct{ Name, Key, Value string }

func (s Setting) String() string { return fmt.Sprintf("set %s=%s in %s", s.Key, s.Value, s.Name) }

func (s Setting) Apply(tree rootfs.Tree) error {
	old, err := readText(tree, s.Name)
	if err != nil {
		return err
	}
	return writeText(tree, s.Name, old, string(defaults.Text(old).Set(s.Key, s.Value)))
}

// A Block keeps lines of ours apart in a file of somebody else's, between a
// line START and a line END. Empty Text takes the block out. It comes last, or,
// where lines begin sections of the file, before the first that begins with one
// of the words in Before.
type Block struct{ Name, Text, Before string }

// The lines around a block, as they are known in the field.
const (
	BlockStart = "# START ClusterCTRL config"
	BlockEnd   = "# END ClusterCTRL config"
)

func (b Block) String() string {
	if b.Text == "" {
		return "take our block out of " + b.Name
	}
	return "set our block in " + b.Name
}

func (b Block) Apply(tree rootfs.Tree) error {
	old, err := readText(tree, b.Name)
	if err != nil {
		return err
	}
	before, after, found, err := cutBlock(old)
	if err != nil {
		return fmt.Errorf("%s: %w", b.Name, err)
	}
	if b.Text == "" {
		return writeText(tree, b.Name, old, before+after)
	}
	if at := lineWith(before, strings.Fields(b.Before)); at >= 0 {
		before, after = before[:at], before[at:]+after
	} else if !found {
		before = endLine(before)
	}
	return writeText(tree, b.Name, old, before+BlockStart+"\n"+endLine(b.Text)+BlockEnd+"\n"+after)
}

// lineWith returns where the first line is that begins with one of words, or -1.
func lineWith(text string, words []string) int {
	at := 0
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && slices.Contains(words, fields[0]) {
			return at
		}
		at += len(line)
	}
	return -1
}

// cutBlock returns what a text has before and after our block.
func cutBlock(text string) (before, after string, found bool, err error) {
	var start, end int
	at, inside := 0, false
	for line := range strings.Lines(text) {
		switch strings.TrimRight(line, "\r\n") {
		case BlockStart:
			if inside || found {
				return "", "", false, fmt.Errorf("a second line %q: want one block of ours", BlockStart)
			}
			start, inside = at, true
		case BlockEnd:
			if !inside {
				return "", "", false, fmt.Errorf("a line %q before its start", BlockEnd)
			}
			end, inside, found = at+len(line), false, true
		}
		at += len(line)
	}
	if inside {
		return "", "", false, fmt.Errorf("no line %q after the start of our block", BlockEnd)
	}
	if !found {
		return text, "", false, nil
	}
	return text[:start], text[end:], true, nil
}
