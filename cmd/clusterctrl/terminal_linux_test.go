package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestTerminals runs the program on terminals of several kinds: one that cannot move its
// cursor, or has no room for a bar, gets plain lines.
func TestTerminals(t *testing.T) {
	for _, tt := range []struct {
		name string
		cols uint16
		term string
		bars bool
	}{
		{"80 columns", 80, "xterm", true},
		{"dumb", 80, "dumb", false},
		{"15 columns", 15, "xterm", false},
		{"no width", 0, "xterm", false},
	} {
		cmd := exec.Command("clusterctrl", "inspect", "sample")
		cmd.Env = append(os.Environ(), "TERM="+tt.term)
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: tt.cols})
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(terminal) // it ends in an error where the program has ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		terminal.Close()
		if moves := strings.Contains(string(out), "\x1b["); moves != tt.bars {
			t.Errorf("%s: moves the cursor: %v, want %v\n%q", tt.name, moves, tt.bars, out)
		}
		if !strings.Contains(string(out), "bookworm arm64") {
			t.Errorf("%s: no result in %q", tt.name, out)
		}
	}
}
