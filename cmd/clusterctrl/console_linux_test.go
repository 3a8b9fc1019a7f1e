package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// withPort runs the command given to it on a controller whose /dev has a ttypi7, or none.
const withPort = `set -e
dev=$(mktemp -d) && mount -t tmpfs dev $dev && mkdir $dev/pts && mount --bind /dev/pts $dev/pts
mknod $dev/null c 1 3
[ -z "$PORT" ] || ln -s $PORT $dev/ttypi7
mkdir $dev/default && echo TYPE=cnat >$dev/default/clusterctrl && mount --bind $dev/default /etc/default
mount --rbind $dev /dev
exec "$@"`

// A session is the command on a terminal.
type session struct {
	cmd      *exec.Cmd
	terminal *os.File  // the user's end
	tty      *os.File  // the command's
	open     chan bool // closed when the command says that the console is
	shown    chan string
}

func startConsole(t *testing.T, port string, args ...string) session {
	t.Helper()
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close(); tty.Close() })
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", withPort, "sh", "clusterctrl"}, args...)...)
	cmd.Env = append(os.Environ(), "PORT="+port)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (the test needs root)", err)
	}
	s := session{cmd, terminal, tty, make(chan bool), make(chan string, 1)}
	go func() {
		var all bytes.Buffer
		opened := false
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			all.Write(buf[:n])
			if !opened && bytes.Contains(all.Bytes(), []byte("console of p7")) {
				opened = true
				close(s.open)
			}
			if err != nil || bytes.Contains(all.Bytes(), []byte(lastWords)) {
				s.shown <- all.String()
				return
			}
		}
	}()
	return s
}

const lastWords = "all is said"

// end waits for the end of the command; it returns its exit status and what
// the terminal showed.
func (s session) end(t *testing.T) (status int, shown string) {
	t.Helper()
	err := s.cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	fmt.Fprint(s.tty, lastWords)
	return s.cmd.ProcessState.ExitCode(), strings.TrimSuffix(<-s.shown, lastWords)
}

// settings is how stty finds the terminal.
func (s session) settings(t *testing.T) string {
	t.Helper()
	stty := exec.Command("stty", "-g")
	stty.Stdin = s.tty
	out, err := stty.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestConsole leaves a console in every possible way. Each time the terminal is as it was
// before, and the exit status says how the session ended.
func TestConsole(t *testing.T) {
	// A program inherits the signals that are ignored: under nohup(1), the command
	// would ignore SIGHUP too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	for _, tt := range []struct {
		name   string
		leave  func(s session, node *os.File)
		status int
		last   string
	}{
		{"escape", func(s session, _ *os.File) { io.WriteString(s.terminal, "\r~.") }, 0, "helps\r\n"},
		{"unplugged", func(_ session, node *os.File) { node.Close() }, 1,
			"clusterctrl: p7: the node is gone: unplugged, switched off or restarting\r\n"},
		{"SIGTERM", func(s session, _ *os.File) { s.cmd.Process.Signal(syscall.SIGTERM) }, 130, "clusterctrl: interrupted\r\n"},
		{"SIGHUP", func(s session, _ *os.File) { s.cmd.Process.Signal(syscall.SIGHUP) }, 130, "clusterctrl: interrupted\r\n"},
		{"SIGQUIT", func(s session, _ *os.File) { s.cmd.Process.Signal(syscall.SIGQUIT) }, 1, "clusterctrl: ended by a signal\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node, port, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer node.Close()
			name := port.Name()
			port.Close()
			s := startConsole(t, name, "console", "p7")
			before := s.settings(t)
			<-s.open
			io.WriteString(s.terminal, "x\x03") // Ctrl-C is the node's
			heard := make([]byte, 2)
			if _, err := io.ReadFull(node, heard); err != nil || string(heard) != "x\x03" {
				t.Fatalf("the node heard %q, %v", heard, err)
			}
			io.WriteString(node, "ready\r\n")
			tt.leave(s, node)
			status, shown := s.end(t)
			if status != tt.status || !strings.Contains(shown, tt.last) {
				t.Errorf("exit status %d, want %d; shown %q, want %q", status, tt.status, shown, tt.last)
			}
			if after := s.settings(t); after != before {
				t.Errorf("the terminal was %sand is %s", before, after)
			}
		})
	}
}

// TestNoConsole: without a port, one line says what to look at.
func TestNoConsole(t *testing.T) {
	s := startConsole(t, "", "console", "p7")
	status, shown := s.end(t)
	want := "clusterctrl: p7 has no serial console here (no /dev/ttypi7): it is not plugged in, has no power, or has not started yet\r\n"
	if status != 1 || shown != want {
		t.Errorf("exit status %d, shown %q; want 1, %q", status, shown, want)
	}
}

// TestSSH puts a program in the place of ssh that prints its arguments.
func TestSSH(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\nfor word; do echo \"$word\"; done\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", withPort, "sh",
		"clusterctrl", "ssh", "--user", "anna", "p7", "--", "uptime", "-p")
	cmd.Env = append(os.Environ(), "PORT=", "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	want := "-o\nHostKeyAlias=p7\n-o\nCheckHostIP=no\n-o\nStrictHostKeyChecking=accept-new\n-o\nConnectTimeout=10\n-l\nanna\n--\n172.19.181.7\nuptime\n-p\n"
	if string(out) != want || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v, got\n%s\nwant exit status 7 and\n%s", err, out, want)
	}
	// The real one understands all of it.
	real := exec.Command("ssh", append([]string{"-G"}, sshArgs(7, "anna", nil)...)...)
	config, err := real.CombinedOutput()
	for _, line := range []string{"user anna", "hostname 172.19.181.7", "hostkeyalias p7", "stricthostkeychecking accept-new"} {
		if err != nil || !strings.Contains(string(config), line+"\n") {
			t.Errorf("ssh -G: %v, no %q in\n%s (package openssh-client)", err, line, config)
		}
	}
}
