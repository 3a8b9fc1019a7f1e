package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamples has each command take the examples in its help and in the README.
func TestExamples(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := takeExamples(t, "README", string(readme)); n < 20 {
		t.Errorf("%d examples in the README, want 20 at least", n)
	}
	for _, cmd := range all(rootCommand()) {
		if cmd.Parent().Name() == "completion" {
			continue // cobra's own, which say in words how to use them
		}
		if takeExamples(t, cmd.CommandPath(), cmd.Example) == 0 && cmd.Name() != "help" && cmd.Name() != "completion" {
			t.Errorf("%s: no example", cmd.CommandPath())
		}
	}
}

func all(root *cobra.Command) (commands []*cobra.Command) {
	for _, cmd := range root.Commands() {
		commands = append(append(commands, cmd), all(cmd)...)
	}
	return commands
}

// takeExamples has the shell split the indented lines of a text that run the
// program, and the program look at their words. It returns how many there are.
func takeExamples(t *testing.T, where, text string) (n int) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		line, indented := strings.CutPrefix(line, "  ")
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
		if !indented || len(words) == 0 {
			continue
		}
		first, known := alias(words[0])
		if words[0] != "clusterctrl" && !known {
			continue
		}
		n++
		line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "sudo "), " | ")
		line, _, _ = strings.Cut(line, " >") // into a file
		out, err := exec.Command("sh", "-c", "set -f; cut() { echo 0; }; set -- "+line+"\nprintf '%s\\n' \"$@\"").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", where, line, err, out)
			continue
		}
		args := append(first, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")[1:]...)
		if err := take(args); err != nil {
			t.Errorf("%s: %s: %v", where, line, err)
		}
	}
	return n
}

// take does with a command line what comes before it is run.
func take(args []string) error {
	cmd, rest, err := rootCommand().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
