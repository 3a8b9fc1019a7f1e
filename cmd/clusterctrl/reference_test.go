package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const referenceFile = "../../docs/reference.md"

// TestReference holds docs/reference.md against the program's help, of which it is made.
func TestReference(t *testing.T) {
	var want bytes.Buffer
	want.WriteString("# Reference\n\nThis is the program's help, written by `make reference`.\n")
	root := rootCommand()
	for _, cmd := range append([]*cobra.Command{root}, all(root)...) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			continue
		}
		cmd.InitDefaultHelpFlag()
		var help bytes.Buffer
		cmd.SetOut(&help)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "\n## %s\n\n```\n%s\n```\n", cmd.CommandPath(), strings.TrimSpace(help.String()))
	}
	if *update {
		if err := os.WriteFile(referenceFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/reference.md is not what the program's help says: run make reference")
	}
}
