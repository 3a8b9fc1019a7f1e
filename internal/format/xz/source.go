package xz

import (
	"fmt"
	"io"
)

const (
	// chunkSpan is a power of two that no LZMA chunk reaches the end of, even
	// if the decoder runs over by the bytes of a symbol.
	chunkSpan  = 1 << 17
	sourceSize = 128 << 10
)

// A source is a buffered input that hands out its bytes in place. Behind every
// byte that it hands out are chunkSpan more that may be read, of any value.
type source struct {
	r        io.Reader
	buf      []byte
	pos, end int   // buf[pos:end] has not been handed out
	passed   int64 // how many bytes of the input lie before buf[0]
	err      error // why there is no more to read
}

// reset starts over with another input, whose first byte is called start in
// errors.
func (s *source) reset(r io.Reader, start int64) {
	if s.buf == nil {
		s.buf = make([]byte, sourceSize+chunkSpan)
	}
	s.r, s.pos, s.end, s.passed, s.err = r, 0, 0, start, nil
}

// offset is where in the input the next byte comes from.
func (s *source) offset() int64 { return s.passed + int64(s.pos) }

// fill tries to have at least n bytes in the buffer, n <= sourceSize/2, and
// says how many there are.
func (s *source) fill(n int) int {
	if s.pos+n > sourceSize {
		copy(s.buf, s.buf[s.pos:s.end])
		s.passed += int64(s.pos)
		s.pos, s.end = 0, s.end-s.pos
	}
	for idle := 0; s.end-s.pos < n && s.err == nil; idle++ {
		var got int
		got, s.err = s.r.Read(s.buf[s.end:sourceSize])
		s.end += got
		if got > 0 {
			idle = 0
		} else if idle == 100 && s.err == nil {
			s.err = io.ErrNoProgress
		}
	}
	return s.end - s.pos
}

// take hands out the next n bytes, which stay as they are until the next call.
func (s *source) take(n int) ([]byte, error) {
	if s.end-s.pos < n && s.fill(n) < n {
		return nil, s.short()
	}
	p := s.buf[s.pos : s.pos+n]
	s.pos += n
	return p, nil
}

// short is the error of an input that should go on but does not.
func (s *source) short() error {
	at := s.passed + int64(s.end)
	if s.err == io.EOF {
		return fmt.Errorf("%w: input ends at byte %d", errCutOff, at)
	}
	return fmt.Errorf("input at byte %d: %w", at, s.err)
}

// takeByte hands out one byte.
func (s *source) takeByte() (byte, error) {
	p, err := s.take(1)
	if err != nil {
		return 0, err
	}
	return p[0], nil
}

// chunk hands out the n <= chunkSpan/2 bytes of an LZMA chunk with all that
// lies behind them.
func (s *source) chunk(n int) (*[chunkSpan]byte, error) {
	p, err := s.take(n)
	if err != nil {
		return nil, err
	}
	return (*[chunkSpan]byte)(p[:chunkSpan]), nil
}
