//go:build unix

package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"pgregory.net/rapid"
)

// noisy puts messages between what is read, as the kernel and systemd do.
type noisy struct {
	io.Reader
	noise []string
	count int
}

func (n *noisy) Read(p []byte) (int, error) {
	n.count++
	if n.count%3 == 0 && len(n.noise) > 0 {
		return copy(p, n.noise[n.count/3%len(n.noise)]), nil
	}
	return n.Reader.Read(p[:min(len(p), 7)])
}

// terminal starts a shell on a terminal and returns its console.
func terminal(t *testing.T, noise []string, shell ...string) *Console {
	t.Helper()
	cmd := exec.Command(shell[0], shell[1:]...)
	cmd.Env = []string{"PATH=/bin:/usr/bin", "TERM=vt220", "PS1=[p1]# "}
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		tty.Close()
	})
	return NewConsole(&noisy{Reader: tty, noise: noise}, tty, nil)
}

func TestRun(t *testing.T) {
	noise := []string{
		"[   12.345678] usb 1-1: new high-speed device\r\n",
		"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mgetty\x1b[0m.\r\n",
		"         Starting [x]...\r\n",
	}
	for _, shell := range [][]string{{"sh", "-i"}, {"bash", "--norc", "-i"}} {
		for _, noise := range [][]string{nil, noise} {
			t.Run(fmt.Sprintf("%s with %d messages", shell[0], len(noise)), func(t *testing.T) {
				c := terminal(t, noise, shell...)
				for _, tt := range []struct {
					command, output string
					status          int
				}{
					{"echo p1", "p1\n", 0},
					{"printf 'no end of line'", "no end of line", 0},
					{"echo out; echo err >&2; exit 7", "out\nerr\n", 7},
					{"printf '\\r\\n\\033[1m[   12.345678] x\\r\\n=end1=\\n\\000\\377'", "\r\n\x1b[1m[   12.345678] x\r\n=end1=\n\x00\xff", 0},
					{"echo \"it's $((6 * 7))\" '`' \\\\", "it's 42 ` \\\n", 0},
					{"cat", "", 0},
					{"seq 2000 |\n sha256sum", "6251e5743b6fd6a7d606130bdf7c15077ce85ebd3a0fdee284d15a46df199e38  -\n", 0},
					{"nothing-of-this-name 2>/dev/null", "", 127},
					{"true", "", 0},
				} {
					output, status, err := c.Run(t.Context(), tt.command)
					if err != nil {
						t.Fatal(err)
					}
					if output != tt.output || status != tt.status {
						t.Errorf("Run(%q) = %q, %d; want %q, %d", tt.command, output, status, tt.output, tt.status)
					}
				}
			})
		}
	}
}

func TestRunTooLong(t *testing.T) {
	c := newConsole(io.Discard)
	if _, _, err := c.Run(t.Context(), strings.Repeat("x", maxLine)); err == nil {
		t.Error("a command longer than a terminal's line was accepted")
	}
}

// TestRunAfterOneGivenUp gives up waiting for a command. What it prints later is
// not taken for the output of the next.
func TestRunAfterOneGivenUp(t *testing.T) {
	c := terminal(t, nil, "sh", "-i")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := filepath.Join(t.TempDir(), "end")
	if _, _, err := c.Run(ctx, "until [ -e "+end+" ]; do :; done; echo first"); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run() = %v, want %v", err, context.Canceled)
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if output, status, err := c.Run(t.Context(), "echo second"); output != "second\n" || status != 0 || err != nil {
		t.Errorf("Run() = %q, %d, %v", output, status, err)
	}
}

// TestRunBesideOthers has a program write lines of its own to the terminal all
// the while, as cloud-init does.
func TestRunBesideOthers(t *testing.T) {
	c := terminal(t, nil, "sh", "-c", "stty -echo; while echo 'ci-info: +++++'; do :; done & exec sh -i")
	for range 5 {
		output, status, err := c.Run(t.Context(), "seq 2000; exit 3")
		if err != nil || status != 3 || !strings.HasSuffix(output, "1999\n2000\n") {
			t.Fatalf("Run() = %d bytes, %d, %v; want the numbers to 2000 and 3", len(output), status, err)
		}
	}
}

// TestGarbledOutput changes what Run's command line prints in one place: there
// is an error, never another output.
func TestGarbledOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "output")
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		fmt.Fprintf(z, "%s 3\n", want)
		z.Close()
		encoded := base64.StdEncoding.EncodeToString(packed.Bytes())
		if got, status, err := decode(encoded); got != want || status != 3 || err != nil {
			t.Fatalf("decode() = %q, %d, %v; want %q, 3", got, status, err, want)
		}
		at := rapid.IntRange(0, len(encoded)-1).Draw(t, "at")
		noise := rapid.StringMatching(`[A-Za-z0-9+/]{0,5}`).Draw(t, "noise")
		cut := rapid.IntRange(0, len(encoded)-at).Draw(t, "cut")
		garbled := encoded[:at] + noise + encoded[at+cut:]
		if got, status, err := decode(garbled); err == nil && (got != want || status != 3) {
			t.Fatalf("decode(%q) = %q, %d; want an error", garbled, got, status)
		}
	})
}

func TestLogin(t *testing.T) {
	const script = `stty -echo; printf 'p1 login: '; read -r user
		case $user in pi) printf 'Password: '; read -r password ;; esac
		case $user$password in root|piraspberry) ;; *) echo; echo Login incorrect; exit ;; esac
		stty echo; exec sh -i`
	for _, tt := range []struct {
		user, password string
		ok             bool
	}{{"root", "", true}, {"pi", "raspberry", true}, {"pi", "wrong", false}} {
		t.Run(tt.user+" "+tt.password, func(t *testing.T) {
			c := terminal(t, nil, "sh", "-c", script)
			if err := c.Login(t.Context(), tt.user, tt.password); (err == nil) != tt.ok {
				t.Fatalf("Login() = %v", err)
			}
			if !tt.ok {
				return
			}
			if output, status, err := c.Run(t.Context(), "echo in"); output != "in\n" || status != 0 || err != nil {
				t.Errorf("Run() = %q, %d, %v", output, status, err)
			}
		})
	}
}
