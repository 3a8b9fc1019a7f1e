package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
)

// ErrEnded says that a console ended before it showed an expected text.
var ErrEnded = errors.New("the console ended")

const (
	maxUnread = 1 << 20 // bytes that are kept for an Expect to come
	tailLines = 25      // what an error shows of the console
	maxTail   = 8 << 10 // bytes
)

// A Console is the serial console of a machine. Its output is read all the time and
// kept until an Expect has gone past it, but at most the last megabyte of it.
//
// Carriage returns and terminal control sequences are left out. What an Expect
// finds depends on what the console shows only, never on when it shows it. A
// message of the kernel in the middle of another line does not hide that line.
// Only one goroutine at a time may wait for something.
type Console struct {
	in io.Writer

	mu     sync.Mutex
	unread []byte
	gone   int64         // bytes shown before unread
	tail   []byte        // end of what was shown
	grown  chan struct{} // closed when something was added
	ended  bool
	marks  int // number of the last [Console.Run]
}

// NewConsole returns the console that shows the output out and types into in. All of
// out is also written, unchanged, to transcript, unless that is nil. Reading stops at
// the end of out.
func NewConsole(out io.Reader, in, transcript io.Writer) *Console {
	c := newConsole(in)
	go c.read(out, transcript, func(string) {})
	return c
}

func newConsole(in io.Writer) *Console { return &Console{in: in, grown: make(chan struct{})} }

// read takes in what out shows until its end and calls see with each line. It
// returns the first error of the transcript.
func (c *Console) read(out io.Reader, transcript io.Writer, see func(line string)) error {
	var failed error
	var plain plainText
	var line []byte
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		if transcript != nil && n > 0 && failed == nil {
			_, failed = transcript.Write(buf[:n])
		}
		text := plain.filter(buf[:n])
		c.add(text, err != nil)
		for _, b := range text {
			if b != '\n' && len(line) < maxTail {
				line = append(line, b)
			} else if b == '\n' {
				see(string(line))
				line = line[:0]
			}
		}
		if err != nil {
			return failed
		}
	}
}

func (c *Console) add(text []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := append(c.unread, text...)
	c.unread = last(shown, maxUnread)
	c.gone += int64(len(shown) - len(c.unread))
	c.tail = last(append(c.tail, text...), maxTail)
	c.ended = ended
	close(c.grown)
	c.grown = make(chan struct{})
}

func last(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// Write types p unchanged.
func (c *Console) Write(p []byte) (int, error) { return c.in.Write(p) }

// Send types a line.
func (c *Console) Send(line string) error {
	_, err := io.WriteString(c.in, line+"\n")
	return err
}

// Expect waits until the console shows one of texts, each a part of a line, and
// returns which. It goes past that text; the next Expect looks behind it.
func (c *Console) Expect(ctx context.Context, texts ...string) (string, error) {
	return c.expect(ctx, fmt.Sprintf("%q", texts), either(func(shown []byte) (end int, first string) {
		for _, text := range texts {
			i := bytes.Index(shown, []byte(text))
			if i >= 0 && (end == 0 || i+len(text) < end) {
				end, first = i+len(text), text
			}
		}
		return end, first
	}))
}

// ExpectLine waits for a whole line that matches, and returns the match and its
// groups. It goes past that line.
func (c *Console) ExpectLine(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	line, err := c.expect(ctx, fmt.Sprintf("a line like %q", re), either(lineThat(re.MatchString)))
	if err != nil {
		return nil, err
	}
	return re.FindStringSubmatch(line), nil
}

// expect waits until look finds something in what the console shows, and goes
// past it.
func (c *Console) expect(ctx context.Context, what string, look looker) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for passed := c.gone; ; {
		passed = max(passed, c.gone)
		found := look(c.unread[passed-c.gone:])
		passed += int64(found.end)
		if found.ok {
			c.unread = c.unread[passed-c.gone:]
			c.gone = passed
			return found.text, nil
		}
		if c.ended {
			return "", c.failure(what, ErrEnded)
		}
		grown := c.grown
		c.mu.Unlock()
		select {
		case <-grown:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			return "", c.failure(what, context.Cause(ctx))
		}
	}
}

// failure says which expected text did not come, and what the console showed last.
func (c *Console) failure(what string, err error) error {
	if len(c.tail) == 0 {
		return fmt.Errorf("waiting for %s: %w; the console showed nothing", what, err)
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(c.tail), []byte("\n"))
	lines = lines[max(0, len(lines)-tailLines):]
	return fmt.Errorf("waiting for %s: %w; the console's last lines:\n%s", what, err, bytes.Join(lines, nil))
}
