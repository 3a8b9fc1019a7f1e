package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// A screen passes what is written to it on to all viewers.
type screen struct {
	mu      sync.Mutex
	shown   []byte // the end of it
	lookers map[chan []byte]bool
}

// maxShown is how much of the earlier output a new viewer gets, in bytes.
const maxShown = 8 << 10

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = bytes.Clone(last(append(s.shown, p...), maxShown))
	for l := range s.lookers {
		select {
		case l <- bytes.Clone(p):
		default: // a viewer that is too slow is dropped
			delete(s.lookers, l)
			close(l)
		}
	}
	return len(p), nil
}

// errSlow says that a viewer did not keep up with a console's output.
var errSlow = errors.New("the console showed more than was read")

func (s *screen) show(ctx context.Context, w io.Writer) error {
	l := make(chan []byte, 1024)
	s.mu.Lock()
	if s.lookers == nil {
		s.lookers = map[chan []byte]bool{}
	}
	s.lookers[l] = true
	l <- bytes.Clone(s.shown)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lookers, l)
		s.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case text, ok := <-l:
			if !ok {
				return errSlow
			}
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
	}
}
