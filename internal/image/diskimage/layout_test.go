package diskimage

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestWriter compares files with a model in memory, for images of runs of zeros
// and data, written in parts of any size and in any order.
func TestWriter(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		image := drawImage(t)
		layout := rapid.SampledFrom([]Layout{Sparse, FewExtents}).Draw(t, "layout")
		var files []*os.File
		for _, name := range []string{"a", "b"} {
			f, err := os.Create(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
		w := &writer{files: files, layout: layout, count: counter(nil)}
		for _, s := range drawParts(t, int64(len(image))) {
			if err := w.write(s.start, image[s.start:s.end]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.finish(int64(len(image))); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, image) {
				t.Fatalf("%s differs, %v", f.Name(), err)
			}
		}
	})
}

// drawImage draws an image whose runs are around as long as a layout's units.
func drawImage(t *rapid.T) []byte {
	var image []byte
	for range rapid.IntRange(1, 8).Draw(t, "runs") {
		unit := rapid.SampledFrom([]int{1, 512, int(Sparse), int(FewExtents)}).Draw(t, "unit")
		n := max(unit*rapid.IntRange(1, 3).Draw(t, "n")+rapid.IntRange(-1, 1).Draw(t, "more"), 0)
		b := rapid.SampledFrom([]byte{0, 0, 1}).Draw(t, "byte")
		image = append(image, bytes.Repeat([]byte{b}, n)...)
	}
	return image
}

// drawParts cuts size bytes into parts and shuffles them.
func drawParts(t *rapid.T, size int64) []segment {
	var parts []segment
	for off := int64(0); off < size; {
		step := rapid.Int64Range(1, max(size/3, 1)).Draw(t, "part")
		parts = append(parts, segment{off, min(off+step, size)})
		off += step
	}
	return rapid.Permutation(parts).Draw(t, "order")
}

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 4095, 4096, 4097, 8192, 3<<20 + 1} {
		p := make([]byte, n)
		if !isZero(p) {
			t.Errorf("%d zeros are not zero", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if n == 0 {
				break
			}
			p[i] = 1
			if isZero(p) {
				t.Errorf("%d zeros but for byte %d are zero", n, i)
			}
			p[i] = 0
		}
	}
}
