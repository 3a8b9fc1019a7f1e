package console

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// port returns the node's end of a serial port and the name of ours.
func port(t *testing.T) (node *os.File, name string) {
	t.Helper()
	node, ours, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	name = filepath.Join(t.TempDir(), "ttypi7")
	if err := errors.Join(os.Symlink(ours.Name(), name), ours.Close()); err != nil {
		t.Fatal(err)
	}
	return node, name
}

func mustOpen(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestOpen has stty say how the port is set.
func TestOpen(t *testing.T) {
	_, name := port(t)
	f := mustOpen(t, name)
	stty := exec.Command("stty", "-a")
	stty.Stdin = f
	out, err := stty.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"speed 115200 baud", "min = 1", "-icanon", "-isig", "-echo ", "-opost", "-icrnl", "-ixon", "cs8", " clocal", "-hupcl", "-crtscts"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// settings returns how a port is set.
func settings(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("stty", "-F", name, "-g").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func wantTaken(t *testing.T, name, by string) {
	t.Helper()
	f, err := Open(name)
	if err == nil {
		f.Close()
	}
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), by) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open() = %v, want it taken by %s", err, by)
	}
}

func TestTaken(t *testing.T) {
	t.Run("by one of us", func(t *testing.T) {
		_, name := port(t)
		mustOpen(t, name)
		wantTaken(t, name, "another program") // this very process, which is not named
	})
	for what, lock := range map[string]func(fd int) error{
		"locked":    func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) },
		"exclusive": func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0) },
		"open":      func(int) error { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			_, name := port(t)
			f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := lock(int(f.Fd())); err != nil {
				t.Fatal(err)
			}
			other := exec.Command("sleep", "1000")
			other.Stdin = f
			if err := errors.Join(other.Start(), f.Close()); err != nil {
				t.Fatal(err)
			}
			before := settings(t, name)
			wantTaken(t, name, "sleep (process ")
			if after := settings(t, name); after != before {
				t.Errorf("the port was %s and is %s", before, after)
			}
			other.Process.Kill()
			other.Wait()
			if what != "exclusive" { // a pty stays so while its other end is open
				mustOpen(t, name)
			}
		})
	}
}

// TestRefused opens ports that are missing, and ports that the user may not use.
func TestRefused(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "ttypi7")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open() of none = %v", err)
	}
	if _, err := Open("/dev/null"); err == nil || !strings.Contains(err.Error(), "no serial port") {
		t.Errorf("Open() of /dev/null = %v", err)
	}
	_, name := port(t)
	if err := errors.Join(os.Chmod(filepath.Dir(name), 0o755), os.Chmod(filepath.Dir(filepath.Dir(name)), 0o755), os.Chown(name, 0, 20), os.Chmod(name, 0o660)); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this, and its user with it
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			refused <- errno
			return
		}
		_, err := Open(name)
		refused <- err
	}()
	err := <-refused
	if !errors.Is(err, fs.ErrPermission) || !strings.HasSuffix(err.Error(), "want root, or membership of group dialout (sudo adduser $USER dialout, then log in again)") {
		t.Errorf("Open() as nobody = %v", err)
	}
}

// TestRun talks to a node both ways, and leaves it.
func TestRun(t *testing.T) {
	node, name := port(t)
	p := mustOpen(t, name)
	keyboard, typed := io.Pipe()
	screen, shown := io.Pipe()
	done := make(chan error)
	go func() { done <- Run(t.Context(), p, keyboard, shown) }()
	const bytes = "\x00\x03\x04\r\n\x11\x13\x1a\x7f\xff"
	for _, way := range []struct {
		from io.Writer
		to   io.Reader
	}{{typed, node}, {node, screen}} {
		if _, err := io.WriteString(way.from, bytes); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(bytes))
		if _, err := io.ReadFull(way.to, got); err != nil || string(got) != bytes {
			t.Errorf("%q came, %v; want %q", got, err, bytes)
		}
	}
	io.WriteString(typed, "\r~.")
	if err := <-done; err != nil {
		t.Errorf("Run() = %v after ~.", err)
	}
}

// TestRunEnds: a session ends when the port goes away, or when the user leaves, even if
// the node takes no input. It does not end when the input does.
func TestRunEnds(t *testing.T) {
	t.Run("unplugged", func(t *testing.T) {
		node, name := port(t)
		p := mustOpen(t, name)
		keyboard, _ := io.Pipe()
		done := make(chan error)
		go func() { done <- Run(t.Context(), p, keyboard, io.Discard) }()
		node.Close()
		if err := <-done; !errors.Is(err, ErrGone) {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("end of input", func(t *testing.T) {
		node, name := port(t)
		p := mustOpen(t, name)
		ctx, cancel := context.WithCancel(t.Context())
		screen, shown := io.Pipe()
		done := make(chan error)
		go func() { done <- Run(ctx, p, strings.NewReader("reboot\r~"), shown) }()
		got := make([]byte, len("reboot\r~"))
		if _, err := io.ReadFull(node, got); err != nil || string(got) != "reboot\r~" {
			t.Errorf("%q came, %v", got, err)
		}
		io.WriteString(node, "bye")
		if _, err := io.ReadFull(screen, got[:3]); err != nil || string(got[:3]) != "bye" {
			t.Errorf("%q was shown, %v", got, err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("stuck", func(t *testing.T) {
		_, name := port(t) // whose other end nobody reads
		p := mustOpen(t, name)
		keyboard, typed := io.Pipe()
		done := make(chan error)
		go func() { done <- Run(t.Context(), p, keyboard, io.Discard) }()
		for range 2 * backlog {
			io.WriteString(typed, strings.Repeat("x", 4096))
		}
		io.WriteString(typed, "\r~.")
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
}
