// Package readme finds the commands in the README, so that tests can do what it says.
package readme

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A Block is a run of indented lines: commands, as a user types them.
type Block struct {
	Where    string // for messages
	Commands string
	Mark     string // in the comment in front of the block, which readers do not see
}

// A Section is what is under a heading: blocks that belong together.
type Section struct {
	Heading string
	Blocks  []Block
}

var (
	heading = regexp.MustCompile(`^#+ (.*)$`)
	comment = regexp.MustCompile(`^ *<!-- (.*) -->$`)
	indent  = regexp.MustCompile(`^ {4,}\S`)
)

// Sections reads a file. Text in fences is no command.
func Sections(file string) ([]Section, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all := []Section{{}}
	fenced, blank, mark := false, true, ""
	var at *Block
	for i, line := range strings.Split(string(text), "\n") {
		last := &all[len(all)-1]
		switch h, c := heading.FindStringSubmatch(line), comment.FindStringSubmatch(line); {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced:
		case c != nil:
			mark, at = c[1], nil
		case h != nil:
			all, at = append(all, Section{Heading: h[1]}), nil
		case indent.MatchString(line) && at != nil:
			at.Commands += line + "\n"
		case indent.MatchString(line) && blank:
			last.Blocks = append(last.Blocks, Block{fmt.Sprintf("README, line %d", i+1), line + "\n", mark})
			at = &last.Blocks[len(last.Blocks)-1]
		default:
			at = nil
		}
		if blank = line == ""; !blank && comment.FindString(line) == "" {
			mark = ""
		}
	}
	return all, nil
}
