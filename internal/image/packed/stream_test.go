package packed

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestStream compresses streams of lengths around that of a piece, written in odd
// parts, and has the other programs unpack them.
func TestStream(t *testing.T) {
	for _, format := range []Format{Zstd, XZ} {
		piece := format.streamPacker().pieceSize()
		for _, size := range []int{512, piece - 512, piece, piece + 512, 2*piece + 12800} {
			contents := compressible(size)
			name := filepath.Join(t.TempDir(), "x"+format.Ext())
			file, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			s := format.NewStream(t.Context(), file)
			for rest := contents; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(3<<20))
				if _, err := s.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wantUnpacked(t, format, name, contents)
		}
	}
}

// compressible is mostly zeros.
func compressible(size int) []byte {
	contents := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{1})
	for at := 0; at < size; at += 1 << 16 {
		noise.Read(contents[at:min(at+1<<8, size)])
	}
	return contents
}

func TestStreamFails(t *testing.T) {
	want := errors.New("disk full")
	s := Zstd.NewStream(t.Context(), failing{err: want})
	contents := compressible(Zstd.packer().pieceSize())
	for range 20 {
		if _, err := s.Write(contents); err != nil {
			break
		}
	}
	if err := s.Close(); !errors.Is(err, want) {
		t.Errorf("to a full disk: %v, want %v", err, want)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	s = Zstd.NewStream(ctx, io.Discard)
	cancel(want)
	for range 20 {
		if _, err := s.Write(contents); err != nil {
			break
		}
	}
	if err := s.Close(); !errors.Is(err, want) && !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
