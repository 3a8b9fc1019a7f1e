// Package progress tells the person who waits how far a piece of work is: on a
// terminal by a bar with rate and time left, elsewhere by a line when a piece
// of work begins and another when it is done.
package progress

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A Display shows several pieces of work at a time. The nil Display shows
// nothing.
type Display struct {
	bars *mpb.Progress // nil: plain lines
	w    io.Writer
}

// Bars returns a Display on a terminal.
func Bars(terminal io.Writer) *Display {
	return &Display{bars: mpb.New(mpb.WithOutput(terminal), mpb.WithWidth(60)), w: terminal}
}

// Lines returns a Display that writes plain lines.
func Lines(w io.Writer) *Display { return &Display{w: w} }

// Start begins to show a piece of work of total bytes, 0 if their number is not
// known. Bytes written to the result count as done; Close ends it.
func (d *Display) Start(what string, total int64) io.WriteCloser {
	switch {
	case d == nil:
		return nothing{}
	case d.bars == nil:
		fmt.Fprintf(d.w, "%s%s\n", what, before(": ", size(total)))
		return &lines{d: d, what: what, total: total, began: time.Now()}
	case total == 0:
		return d.spinner(what)
	}
	return d.bar(what, total)
}

// Wait ends the display. Bars that were not closed, since the work failed, disappear.
func (d *Display) Wait() {
	if d != nil && d.bars != nil {
		d.bars.Shutdown()
	}
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Close() error                { return nil }

// lines counts what was done, says so every few seconds, and at the end.
type lines struct {
	d     *Display
	what  string
	total int64
	done  atomic.Int64
	said  atomic.Int64 // after so many nanoseconds
	began time.Time
}

// pause is between two lines about one piece of work.
const pause = 5 * time.Second

func (l *lines) Write(p []byte) (int, error) {
	done := l.done.Add(int64(len(p)))
	now, said := int64(time.Since(l.began)), l.said.Load()
	if now-said < int64(pause) || !l.said.CompareAndSwap(said, now) { // another goroutine says it
		return len(p), nil
	}
	text := fmt.Sprintf("%s: %s", l.what, size(done))
	if l.total > 0 {
		text += fmt.Sprintf(", %d%%", min(100, 100*done/l.total))
	}
	_, err := fmt.Fprintln(l.d.w, text)
	return len(p), err
}

func (l *lines) Close() error {
	took := time.Since(l.began).Round(10 * time.Millisecond)
	_, err := fmt.Fprintf(l.d.w, "%s: done%s in %v\n", l.what, before(", ", size(l.done.Load())), took)
	return err
}

func before(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// size writes a number of bytes for people, "" for none.
func size(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

type bar struct{ *mpb.Bar }

func (b bar) Write(p []byte) (int, error) {
	b.IncrBy(len(p))
	return len(p), nil
}

func (b bar) Close() error {
	b.SetTotal(-1, true)
	return nil
}

func (d *Display) bar(what string, total int64) io.WriteCloser {
	return bar{d.bars.AddBar(total,
		mpb.PrependDecorators(decor.Name(what, decor.WCSyncSpaceR), decor.CountersKiloByte("% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.AverageSpeed(decor.SizeB1000(0), " % .0f", decor.WC{W: 10}), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 7})),
	)}
}

func (d *Display) spinner(what string) io.WriteCloser {
	done := func(s decor.Statistics) string { return size(s.Current) }
	return bar{d.bars.AddSpinner(0, mpb.BarFillerOnComplete("done"),
		mpb.PrependDecorators(decor.Name(what, decor.WCSyncSpaceR), decor.Any(done, decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)),
	)}
}
