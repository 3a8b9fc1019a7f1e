package labtest

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"
)

// patience is how long a machine's console may be silent. A busy computer makes
// a boot that takes a minute take ten, in which the console still shows
// something now and then.
const patience = 15 * time.Minute

// Listen returns a transcript for machines, which passes on what their consoles
// show to w, and a context that ends when they all have been silent for 15
// minutes. However long a test takes, that alone says that it is stuck.
func Listen(t testing.TB, w io.Writer) (transcript io.Writer, ctx context.Context) {
	ctx, cancel := context.WithCancelCause(t.Context())
	silence := time.AfterFunc(patience, func() {
		cancel(fmt.Errorf("the console has been silent for %v", patience))
	})
	t.Cleanup(func() {
		silence.Stop()
		cancel(nil)
	})
	return listener{w, silence}, ctx
}

// A listener puts the end of its patience off with each sound.
type listener struct {
	to      io.Writer
	silence *time.Timer
}

func (l listener) Write(p []byte) (int, error) {
	l.silence.Reset(patience)
	return l.to.Write(p)
}
