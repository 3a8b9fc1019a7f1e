package main

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
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

// TestPasswordOnTerminal types a password: twice, with an error, and Ctrl-C, which ends the
// program at once.
func TestPasswordOnTerminal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		typed  []string // behind each prompt
		want   string
		status int
	}{
		{"twice", []string{"correct horse\r", "correct horse\r"}, "etc/hostname", 0},
		{"two passwords", []string{"correct horse\r", "correct house\r"}, "the two passwords differ", 1},
		{"Ctrl-C", []string{"corr\x03"}, "interrupted", 130},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("clusterctrl", "build", "sample", "--user", "anna", "--password-file", "-", "--only", "p1", "--dry-run", "--stat", "-q")
			terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			var out strings.Builder
			for _, typed := range tt.typed {
				until(t, terminal, &out, ": ")
				awaitHidden(t, terminal)
				if _, err := terminal.WriteString(typed); err != nil {
					t.Fatal(err)
				}
			}
			rest, _ := io.ReadAll(terminal) // it ends in an error where the program has ended
			out.Write(rest)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("exit status %d, want %d\n%s", got, tt.status, out.String())
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("no %q in %q", tt.want, out.String())
			}
			if strings.Contains(out.String(), "corr") {
				t.Errorf("the terminal shows the password: %.200q", out.String())
			}
		})
	}
}

// awaitHidden returns once a terminal does not show what is typed, of which nothing tells.
func awaitHidden(t *testing.T, terminal *os.File) {
	t.Helper()
	for {
		mode, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if mode.Lflag&unix.ECHO == 0 {
			return
		}
		runtime.Gosched()
	}
}

// until reads from a terminal until it has shown text behind what was read before.
func until(t *testing.T, terminal io.Reader, out *strings.Builder, text string) {
	t.Helper()
	for begin := out.Len(); !strings.Contains(out.String()[begin:], text); {
		b := make([]byte, 1)
		if _, err := terminal.Read(b); err != nil {
			t.Fatalf("%v behind %q", err, out.String())
		}
		out.Write(b)
	}
}
