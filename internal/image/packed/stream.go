package packed

import (
	"cmp"
	"context"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A Stream compresses what is written to it, in pieces, several at a time. The same
// bytes give the same file, whatever the number of cores.
type Stream struct {
	packer
	ctx   context.Context
	group *errgroup.Group
	queue chan chan []byte // in the order of the file
	open  []byte           // what is not a piece yet, with room for one
	rooms sync.Pool        // of *[]byte, each with room for a piece
	err   error            // of a piece that was not taken
}

// NewStream returns a stream to w. Close it, whatever happened; without Close, the file
// is not complete.
func (f Format) NewStream(ctx context.Context, w io.Writer) *Stream {
	s := &Stream{packer: f.streamPacker(), queue: make(chan chan []byte, runtime.GOMAXPROCS(0))}
	s.group, s.ctx = errgroup.WithContext(ctx)
	s.group.Go(func() error { return s.write(w) })
	return s
}

// streamPacker is the packer for bytes that are made as fast as a disk gives them.
func (f Format) streamPacker() packer {
	if f == Zstd {
		return newFastZstdPacker()
	}
	return f.packer()
}

// Write implements [io.Writer].
func (s *Stream) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if s.open == nil {
			s.open = s.room()
		}
		n := min(len(rest), s.pieceSize()-len(s.open))
		s.open, rest = append(s.open, rest[:n]...), rest[n:]
		if len(s.open) == s.pieceSize() {
			if err := s.cut(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// room returns an empty slice with room for a piece.
func (s *Stream) room() []byte {
	if free, ok := s.rooms.Get().(*[]byte); ok {
		return (*free)[:0]
	}
	return make([]byte, 0, s.pieceSize())
}

// cut has what was written be the next piece.
func (s *Stream) cut() error {
	contents, done := s.open, make(chan []byte, 1)
	s.open = nil
	select {
	case <-s.ctx.Done():
		s.err = context.Cause(s.ctx)
		return s.err
	case s.queue <- done:
	}
	s.group.Go(func() error {
		piece, err := s.pack(contents)
		s.rooms.Put(&contents)
		done <- piece
		return err
	})
	return nil
}

// write writes the file.
func (s *Stream) write(w io.Writer) error {
	if _, err := w.Write(s.head()); err != nil {
		return err
	}
	for done := range s.queue {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case piece := <-done:
			s.add(piece)
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(s.tail())
	return err
}

// Close writes the rest of the file. It does not close the writer below.
func (s *Stream) Close() error {
	if len(s.open) > 0 && s.err == nil {
		_ = s.cut() // which keeps its error
	}
	close(s.queue)
	return cmp.Or(s.group.Wait(), s.err)
}
