package xz

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// sample is a real image to measure with: go test -bench . -sample FILE.xz.
var sample = flag.String("sample", "", "measure with `FILE`, an .xz of several blocks")

func openSample(b *testing.B) (*os.File, *Index) {
	if *sample == "" {
		b.Fatal("-sample names no .xz file to measure with")
	}
	f, err := os.Open(*sample)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	x, err := OpenIndex(f, st.Size())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(x.Size())
	return f, x
}

func BenchmarkIndex(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			_, x := openSample(b)
			for b.Loop() {
				discard := func(int64, []byte) error { return nil }
				if err := x.Decode(b.Context(), workers, DefaultMaxDict, discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSparse writes what is not zero to a file.
func BenchmarkSparse(b *testing.B) {
	_, x := openSample(b)
	f, err := os.Create(filepath.Join(b.TempDir(), "image"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const page = 64 << 10
	zeros := make([]byte, page)
	for b.Loop() {
		if err := f.Truncate(0); err != nil {
			b.Fatal(err)
		}
		err := x.Decode(b.Context(), 2, DefaultMaxDict, func(off int64, p []byte) error {
			for len(p) > 0 {
				n := 0
				for n < len(p) && !bytes.Equal(p[n:min(n+page, len(p))], zeros[:min(page, len(p)-n)]) {
					n = min(n+page, len(p))
				}
				if _, err := f.WriteAt(p[:n], off); err != nil {
					return err
				}
				n = min(n+page, len(p))
				p, off = p[n:], off+int64(n)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	f, _ := openSample(b)
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, NewReader(f, DefaultMaxDict)); err != nil {
			b.Fatal(err)
		}
	}
}
