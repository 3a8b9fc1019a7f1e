package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra/doc"
)

// manDir is for "make release". The pages are made here, not by the program, so that
// nodes need not carry the code for it.
var manDir = flag.String("man", "", "keep the manual pages in a `directory`")

// TestManual makes a manual page of each command's help and has groff typeset it.
func TestManual(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := rootCommand()
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "clusterctrl", Manual: "Clusters of Raspberry Pis"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range append(all(root), root) {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		page := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(text), ".SH SYNOPSIS") || !strings.Contains(string(text), cmd.Name()) {
			t.Errorf("%s:\n%s", page, text)
		}
		// -ww has troff warn about everything that it does not understand.
		out, err := exec.Command("groff", "-man", "-ww", "-z", "-Tutf8", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("groff %s: %v\n%s", page, err, out)
		}
	}
}
