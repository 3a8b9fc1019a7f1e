package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"
)

// show returns a console that shows chunks one after the other and ends.
func show(chunks ...string) *Console {
	r, w := io.Pipe()
	c := NewConsole(r, io.Discard, nil)
	go func() {
		for _, chunk := range chunks {
			io.WriteString(w, chunk)
		}
		w.Close()
	}()
	return c
}

// showSlowly shows each chunk when everybody waits for it, in a synctest bubble.
func showSlowly(chunks []string) *Console {
	r, w := io.Pipe()
	c := NewConsole(r, io.Discard, nil)
	go func() {
		for _, chunk := range chunks {
			synctest.Wait()
			io.WriteString(w, chunk)
		}
		synctest.Wait()
		w.Close()
	}()
	return c
}

func TestExpect(t *testing.T) {
	const usb = "[    1.234567] usb 1-1: new device\r\n"
	for _, tt := range []struct {
		name, shown string
		texts       []string
		want, left  string
	}{
		{"prompt", "Debian\r\n\r\np1 login: ", []string{"login: "}, "login: ", ""},
		{"first of two", "one two", []string{"two", "one"}, "one", " two"},
		{"ends first", "login: ", []string{"login: ", "log"}, "log", "in: "},
		{"colours", "[\x1b[0;32m  OK  \x1b[0m] Started", []string{"[  OK  ]"}, "[  OK  ]", " Started"},
		{"title", "\x1b]0;root@p1\aroot", []string{"root"}, "root", ""},
		{"character set", "p1\x1b(Broot", []string{"p1root"}, "p1root", ""},
		{"sequence cut off", "p1\x1b[1\nroot", []string{"p1\nroot"}, "p1\nroot", ""},
		{"title cut off", "\x1b]0;root\nroot@p1", []string{"root"}, "root", "@p1"},
		{"kernel within", "p1 log" + usb + "in: x", []string{"login: "}, "login: ", "x"},
		{"kernel twice within", "p1 log" + usb + usb + "in: x", []string{"login: "}, "login: ", "x"},
		{"kernel first", "p1 log" + usb + "in: ", []string{"login: ", "device"}, "device", "\nin: "},
		{"kernel within, twice", "log" + usb + "in: x login: ", []string{"login: "}, "login: ", "x login: "},
		{"kernel itself", "p1 log" + usb + "in: ", []string{"new device"}, "new device", "\nin: "},
		{"kernel before", "p1\r\n" + usb + "login: ", []string{"p1login: "}, "", ""},
		{"kernel before, then", "p1\r\n" + usb + usb + "login: ", []string{"login: "}, "login: ", ""},
		{"not there", "p1 login:", []string{"login: "}, "", ""},
		{"nothing shown", "", []string{"login: "}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newConsole(nil)
			c.read(strings.NewReader(tt.shown), nil, func(string) {})
			got, err := c.Expect(t.Context(), tt.texts...)
			if got != tt.want || (tt.want == "") != errors.Is(err, ErrEnded) {
				t.Errorf("Expect() = %q, %v; want %q", got, err, tt.want)
			}
			if err == nil && string(c.unread) != tt.left {
				t.Errorf("left is %q, want %q", c.unread, tt.left)
			}
		})
	}
}

func TestExpectLine(t *testing.T) {
	c := show("inet 10.0.0.1/8\r\n", "inet 172.19.181.", "7/24 \r\n", "p1 [   12.000001] reboot\r\n", "rest\r\nopen")
	inet := regexp.MustCompile(`inet (172[.\d]+)/(\d+)`)
	got, err := c.ExpectLine(t.Context(), inet)
	if want := []string{"inet 172.19.181.7/24", "172.19.181.7", "24"}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ExpectLine(%q) = %q, %v; want %q", inet, got, err, want)
	}
	if _, err := c.ExpectLine(t.Context(), regexp.MustCompile("^p1 rest$")); err != nil {
		t.Errorf("line around a message of the kernel: %v", err)
	}
	if got, err := c.ExpectLine(t.Context(), regexp.MustCompile("open")); !errors.Is(err, ErrEnded) {
		t.Errorf("a line without an end: %q, %v; want %v", got, err, ErrEnded)
	}
}

// TestExpectGivesUp waits for a text that does not come: the error quotes what came
// instead, which can still be waited for.
func TestExpectGivesUp(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	c := NewConsole(r, io.Discard, nil)
	io.WriteString(w, "Kernel panic\r\nnot syncing")
	io.WriteString(w, "") // returns when the last was taken
	if _, err := c.Expect(t.Context(), "panic"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user is tired")
	cancel(why)
	_, err := c.Expect(ctx, "login: ")
	if !errors.Is(err, why) || !strings.Contains(err.Error(), `"login: "`) || !strings.Contains(err.Error(), "Kernel panic\nnot syncing") {
		t.Errorf("Expect() = %v; want the cause, the text and the last lines", err)
	}
	if _, err := c.Expect(t.Context(), "not syncing"); err != nil {
		t.Error(err)
	}
}

func TestConsoleForgets(t *testing.T) {
	old, line := "login: \n", strings.Repeat("x", 99)+"\n"
	for _, lines := range []int{1, maxUnread / len(line), maxUnread} {
		c := newConsole(nil)
		c.read(strings.NewReader(old+strings.Repeat(line, lines)), nil, func(string) {})
		_, err := c.Expect(t.Context(), "login: ")
		if kept := lines*len(line)+len(old) <= maxUnread; kept != (err == nil) {
			t.Errorf("%d lines later: %v", lines, err)
		}
		if len(c.unread) > maxUnread || len(c.tail) > maxTail {
			t.Errorf("%d bytes unread, tail of %d; want at most %d, %d", len(c.unread), len(c.tail), maxUnread, maxTail)
		}
	}
}

// TestExpectAtTheEnd waits for what comes behind more than is kept.
func TestExpectAtTheEnd(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	chunks := slices.Repeat([]string{strings.Repeat(line, 40)}, 3*maxUnread/(40*len(line)))
	c := show(append(chunks, "p1 login: ")...)
	if _, err := c.Expect(t.Context(), "login: "); err != nil {
		t.Error(err)
	}
	if _, err := c.Expect(t.Context(), "x"); !errors.Is(err, ErrEnded) {
		t.Errorf("Expect() behind the end = %v, want %v", err, ErrEnded)
	}
}

// TestChunks holds a console that shows everything at once against one that
// shows it in pieces, each of which an Expect looks at before the next comes: it
// must not find another thing.
func TestChunks(test *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "ab", "login: ", "log", "in: ", "\r\n", "\n", "# ",
		"[    1.234567] ab\r\n", "[12345.678901] a login: b\r\n", "\x1b[0;1;32m", "\x1b[?2004h", "\x1b]0;ab\a", "\x1b(B"})
	wanted := rapid.SampledFrom([]string{"a", "b", "ab", "aab", "login: ", "a login: ", "# ", "zz"})
	rapid.Check(test, func(t *rapid.T) {
		shown := strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "shown"), "")
		texts := rapid.SliceOfN(rapid.SliceOfN(wanted, 0, 2), 1, 5).Draw(t, "expected") // none: a line
		var chunks []string
		for rest := shown; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), 9)).Draw(t, "chunk")
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		want, got := replay(show(shown), texts), ""
		synctest.Test(test, func(*testing.T) { got = replay(showSlowly(chunks), texts) })
		if got != want {
			t.Fatalf("in chunks %q:\n%s\nat once:\n%s", chunks, got, want)
		}
	})
}

// replay tells what a console answers to a list of Expects.
func replay(c *Console, expected [][]string) string {
	var answers strings.Builder
	for _, texts := range expected {
		var answer any
		var err error
		if len(texts) == 0 {
			answer, err = c.ExpectLine(context.Background(), regexp.MustCompile(`^.*b(.*)$`))
		} else {
			answer, err = c.Expect(context.Background(), texts...)
		}
		fmt.Fprintf(&answers, "%q: %q, %t\n", texts, answer, err == nil)
	}
	return answers.String()
}

// TestTranscript wants all bytes in the transcript as they came, and its error.
func TestTranscript(t *testing.T) {
	const shown = "\x1b[1mp1\x1b[0m login: \r\n\x00\xff"
	var transcript strings.Builder
	if err := newConsole(nil).read(strings.NewReader(shown), &transcript, func(string) {}); err != nil || transcript.String() != shown {
		t.Errorf("transcript = %q, %v; want %q", transcript.String(), err, shown)
	}
	c := newConsole(nil)
	full := &failOnce{err: io.ErrShortWrite}
	if err := c.read(iotest.OneByteReader(strings.NewReader(shown)), full, func(string) {}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("read with a full disk = %v, want %v", err, io.ErrShortWrite)
	}
	if _, err := c.Expect(t.Context(), "p1 login: "); err != nil {
		t.Error(err)
	}
}

// failOnce is a writer whose first Write fails.
type failOnce struct{ err error }

func (f *failOnce) Write(p []byte) (int, error) {
	err := f.err
	f.err = nil
	return len(p), err
}
