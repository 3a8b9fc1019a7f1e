package edit

import (
	"fmt"
	"slices"
	"strings"

	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/rootfs"
)

// Line makes Text, which starts with Prefix, the only line of a file with that prefix.
// The first line with the prefix becomes Text, others are removed; where there is
// none, Text is appended. A prefix ends where a word does: 127.0.1.10 does not have
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

// A Block keeps our lines apart in a file that belongs to others, between a line START
// and a line END. Empty Text takes the block out. A block that exists stays in its
// place. A new one comes last or, where lines begin sections of the file, before the
// first line that begins with one of the words in Before.
type Block struct {
	Name, Text, Before string

	// Was are texts that the block may have had besides Text: where END is lost, the
	// block goes on as long as lines are like one of these.
	Was string
	// Reset, if not empty, moves the block to the end of the file, where no later line
	// wins over it. Where lines have stood behind the block, Reset comes before them.
	Reset string
}

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
	return writeText(tree, b.Name, old, b.In(old))
}

// In returns what a text becomes by the edit.
func (b Block) In(old string) string {
	before, after, found := b.cut(old)
	switch {
	case b.Text == "":
		return before + after
	case b.Reset != "" && strings.TrimSpace(after) != "":
		before, after = endLine(before)+endLine(b.Reset)+endLine(after), ""
	case b.Reset != "":
		before, after = endLine(before)+after, ""
	}
	if at := lineWith(before, strings.Fields(b.Before)); at >= 0 {
		before, after = before[:at], before[at:]+after
	} else if !found {
		before = endLine(before)
	}
	return before + BlockStart + "\n" + endLine(b.Text) + BlockEnd + "\n" + after
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

// cut returns what a text has before and after our block, or the first of several.
// Blanks around a mark do not matter. A START without an END, or an END without a
// START, is the rest of a block that a user edited: lines that may be the user's stay.
func (b Block) cut(text string) (before, after string, found bool) {
	var kept [2]strings.Builder // before and after
	var block []string          // lines since START
	inside, at := false, 0
	settle := func() {
		for len(block) > 0 && b.likeOurs(block[0]) {
			block = block[1:]
		}
		kept[at].WriteString(strings.Join(block, ""))
		block = nil
	}
	for line := range strings.Lines(text) {
		switch mark := strings.TrimSpace(line); {
		case mark == BlockStart:
			settle()
			inside, found, at = true, true, 1
		case mark == BlockEnd:
			block, inside, found, at = nil, false, true, 1
		case inside:
			block = append(block, line)
		default:
			kept[at].WriteString(line)
		}
	}
	settle()
	return kept[0].String(), kept[1].String(), found
}

// likeOurs reports whether a line is one of the block's, whatever numbers are in it.
func (b Block) likeOurs(line string) bool {
	for ours := range strings.Lines(endLine(b.Text) + b.Was) {
		if withoutNumbers(ours) == withoutNumbers(line) {
			return true
		}
	}
	return false
}

// withoutNumbers puts one 0 in the place of each number.
func withoutNumbers(line string) string {
	number := false
	return strings.Map(func(r rune) rune {
		goesOn := number
		number = r >= '0' && r <= '9'
		switch {
		case number && goesOn:
			return -1
		case number:
			return '0'
		}
		return r
	}, strings.TrimSpace(line))
}
