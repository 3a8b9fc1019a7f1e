package main

import (
	"bytes"
	"strings"
	"testing"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
)

// TestAfterBuild: whatever was made, what is said names each image and is a command that
// this program takes.
func TestAfterBuild(t *testing.T) {
	file := func(role string) provision.File {
		return provision.File{Name: "x-" + strings.ToUpper(role) + ".img", Role: role}
	}
	fileOf := func(role string) provision.File { return provision.File{Name: "x-" + role + ".img", Role: role} }
	for _, r := range []provision.Result{
		{Dir: "out", Files: []provision.File{file("cbridge")}},
		{Dir: "out", Files: []provision.File{fileOf("p11"), fileOf("p12"), file("cnat")}},
		{Dir: "o u", Files: []provision.File{fileOf("p1")}, Kept: []provision.File{file("cbridge")}},
	} {
		for _, branded := range []bool{false, true} {
			cmd := buildCommand()
			cmd.Flags().Bool("quiet", false, "")
			var text bytes.Buffer
			cmd.SetErr(&text)
			afterBuild(cmd, r, branded)
			if n := takeExamples(t, "after build", text.String()); n < 1 {
				t.Errorf("no command in:\n%s", &text)
			}
		}
	}
	if got := strings.Join(ranges([]node.ID{9, 1, 2, 3, 7, 8}), " "); got != "p1-p3 p7-p9" {
		t.Errorf("ranges: %s", got)
	}
}
