package diskimage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// Decode writes the image into each of files, which must be new and empty, and
// returns its size. It can be called once. A progress that is not nil is told
// of every byte of the image, in pieces of zeros.
//
// When Decode fails the files hold parts of the image.
func (in *Input) Decode(ctx context.Context, files []*os.File, layout Layout, progress io.Writer) (int64, error) {
	g, both := errgroup.WithContext(ctx)
	if in.want != nil && in.file != nil {
		g.Go(func() error { return in.checkFile(both) })
	}
	w := &writer{files: files, layout: layout, count: counter(progress)}
	var size int64
	g.Go(func() (err error) {
		size, err = in.decode(both, w)
		return err
	})
	if err := cmp.Or(g.Wait(), context.Cause(ctx)); err != nil {
		return 0, err
	}
	if size == 0 || size%sectorSize != 0 {
		return 0, fmt.Errorf("%s: image of %d bytes; want whole sectors of %d: it may be cut short", in.name, size, sectorSize)
	}
	return size, w.finish(size)
}

func (in *Input) decode(ctx context.Context, w *writer) (int64, error) {
	if in.index != nil {
		return in.decodeIndex(ctx, w)
	}
	h := sha256.New()
	src := &source{Reader: in.stream}
	if in.want != nil && in.file == nil {
		src.Reader = io.TeeReader(in.stream, h)
	}
	size, err := in.decodeStream(ctx, src, w)
	if err != nil || in.want == nil || in.file != nil {
		return size, err
	}
	if _, err := io.Copy(io.Discard, src); err != nil {
		return 0, in.streamError(src, err)
	}
	return size, in.check(h)
}

// A source remembers why its Reader failed, which decoders may not pass on.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// A chunk is the next part of an image, or the reason why none follows.
type chunk struct {
	data []byte
	err  error
}

// chunks is how many parts of a stream are in memory: one is being decoded, one is
// being written, and the others are a buffer between decoding and writing.
const chunks = 4

// decodeStream decodes in one goroutine and writes in another.
//
// A read from a pipe cannot be interrupted. When ctx ends, the goroutine that
// reads may stay behind until its read returns; it touches no output.
func (in *Input) decodeStream(ctx context.Context, src *source, w *writer) (int64, error) {
	filled, free := make(chan chunk, chunks), make(chan []byte, chunks)
	for range chunks {
		free <- make([]byte, pieceSize)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go in.read(ctx, src, free, filled)
	for size := int64(0); ; {
		var c chunk
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case c = <-filled:
		}
		if size+int64(len(c.data)) > maxSize {
			return 0, in.tooLarge()
		}
		if err := w.write(size, c.data); err != nil {
			return 0, err
		}
		size += int64(len(c.data))
		if c.err == io.EOF {
			return size, nil
		}
		if c.err != nil {
			return 0, c.err
		}
		free <- c.data[:pieceSize]
	}
}

// read decodes the stream into buffers from free until the end, or until ctx ends.
func (in *Input) read(ctx context.Context, src *source, free <-chan []byte, filled chan<- chunk) {
	r, err := in.unpack(src)
	if err != nil {
		filled <- chunk{err: in.streamError(src, err)}
		return
	}
	defer r.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case buf := <-free:
			n, err := readFull(r, buf)
			if err != nil && err != io.EOF {
				err = in.streamError(src, err)
			}
			filled <- chunk{buf[:n], err} // never blocks: there is room for every buffer
			if err != nil {
				return
			}
		}
	}
}

func (in *Input) unpack(src *source) (io.ReadCloser, error) {
	if in.member != nil {
		return in.member.Open()
	}
	return in.format.open(src)
}

// readFull is [io.ReadFull], but marks the decoder's errors: a decoder's
// io.ErrUnexpectedEOF is not the image's end.
func readFull(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

// streamError tells a decoder's complaint from an input that cannot be read.
func (in *Input) streamError(src *source, err error) error {
	if src.err != nil {
		return fmt.Errorf("%s: %w", in.name, withoutPath(src.err))
	}
	return in.decodeError(err)
}

// decodeError says what is wrong with the input, as the decoder found it.
func (in *Input) decodeError(err error) error {
	_, unread := errors.AsType[*fs.PathError](err)
	if unread || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return fmt.Errorf("%s: %w", in.name, err)
	}
	return fmt.Errorf("%s: %w: %w", in.name, err, ErrDamaged)
}

func (in *Input) tooLarge() error {
	return fmt.Errorf("%s: image is larger than %d bytes, which no partition table describes", in.name, int64(maxSize))
}

// Check compares the SHA-256 of an input that is a file with the sum that was given to
// [Input.Expect]. It is for callers that read [Input.Raw]: Decode does it itself.
func (in *Input) Check(ctx context.Context) error {
	if in.want == nil || in.file == nil {
		return nil
	}
	return in.checkFile(ctx)
}

// checkFile compares the file's SHA-256 with the expected one, beside the decoding.
func (in *Input) checkFile(ctx context.Context) error {
	h := sha256.New()
	err := walk(ctx, in.file, segment{0, in.packed}, func(p []byte, _ int64) { h.Write(p) })
	if err != nil {
		return err
	}
	return in.check(h)
}

func (in *Input) check(h hash.Hash) error {
	if got := Sum(h.Sum(nil)); got != *in.want {
		return fmt.Errorf("%s: SHA-256 is %v, want %v: %w", in.name, got, *in.want, ErrDamaged)
	}
	return nil
}
