package condensed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestRoundTrip reads back, at any place, what was written of any image.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 40*BlockSize).Draw(t, "size")
		image, want := make([]byte, size), make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(image)
		var runs []Run
		for first := 0; ; {
			first += rapid.IntRange(0, 5).Draw(t, "gap")
			count := rapid.IntRange(1, 6).Draw(t, "count")
			if int64(first+count) > (size+BlockSize-1)/BlockSize {
				break
			}
			runs = append(runs, Run{uint32(first), uint32(count)})
			copy(want[first*BlockSize:min(int64(first+count)*BlockSize, size)], image[first*BlockSize:])
			first += count
		}
		note := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "note")
		f, err := os.Create(filepath.Join(dir, "condensed"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var written bytes.Buffer
		if err := Write(f, Image{bytes.NewReader(image), size, runs, note}, &written); err != nil {
			t.Fatal(err)
		}
		r, err := Open(f, Size(runs))
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := f.Stat(); info.Size() > Size(runs) {
			t.Errorf("it has %d bytes, want %d", info.Size(), Size(runs))
		}
		if r.Size() != size || !bytes.Equal(r.Note, note) || r.Sum != sha256.Sum256(want) {
			t.Errorf("size %d, note %q, sum %x; want %d, %q, %x", r.Size(), r.Note, r.Sum, size, note, sha256.Sum256(want))
		}
		off := rapid.Int64Range(0, size).Draw(t, "offset")
		got := make([]byte, rapid.IntRange(0, 20*BlockSize).Draw(t, "length"))
		n, err := r.ReadAt(got, off)
		if wanted := want[off:min(size, off+int64(len(got)))]; !bytes.Equal(got[:n], wanted) || (err == io.EOF) != (n < len(got)) {
			t.Errorf("%d bytes at %d, %v; want %d others", n, off, err, len(wanted))
		}
	})
}

// condense returns a condensed image of 5 blocks, of which the second and third, and the
// fifth are kept.
func condense(t testing.TB) []byte {
	t.Helper()
	image := bytes.Repeat([]byte("condensed"), 5*BlockSize)[:5*BlockSize-512]
	f, err := os.Create(filepath.Join(t.TempDir(), "condensed"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, Image{bytes.NewReader(image), int64(len(image)), []Run{{1, 2}, {4, 1}}, []byte("note")}, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// damaged returns condensed images that reading must refuse, though their checksums are
// right.
func damaged(t testing.TB) map[string][]byte {
	change := func(at int, value uint32) []byte {
		text := condense(t)
		binary.LittleEndian.PutUint32(text[at:], value)
		table := text[BlockSize : BlockSize+16]
		binary.LittleEndian.PutUint32(text[68:], crc32.ChecksumIEEE(table))
		end := binary.Size(header{}) - 4
		binary.LittleEndian.PutUint32(text[end:], crc32.ChecksumIEEE(text[:end]))
		return text
	}
	return map[string][]byte{
		"version":          change(16, 2),
		"block":            change(20, 512),
		"negative size":    change(28, 1<<31),
		"too many runs":    change(64, maxRuns+1),
		"runs behind end":  change(64, 1000),
		"long note":        change(72, maxNote+1),
		"empty run":        change(BlockSize+4, 0),
		"runs overlap":     change(BlockSize+8, 2),
		"run behind end":   change(BlockSize+12, 2),
		"run far behind":   change(BlockSize+12, 1<<32-1),
		"data behind end":  condense(t)[:5*BlockSize-1],
		"header's content": append([]byte(magic+"\x02"), condense(t)[17:]...),
		"table's content":  append(append(condense(t)[:BlockSize:BlockSize], 9), condense(t)[BlockSize+1:]...),
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, text := range damaged(t) {
		if _, err := Open(bytes.NewReader(text), int64(len(text))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{"empty": nil, "zeros": make([]byte, 8192), "short": condense(t)[:512]} {
		if _, err := Open(bytes.NewReader(text), int64(len(text))); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, image := range map[string]Image{
		"overlap":   {Size: 5 * BlockSize, Runs: []Run{{0, 2}, {1, 1}}},
		"behind":    {Size: 5 * BlockSize, Runs: []Run{{4, 2}}},
		"long note": {Note: make([]byte, maxNote+1)},
	} {
		if err := Write(nil, image, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(condense(f))
	for _, text := range damaged(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Open(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			if !errors.Is(err, ErrNone) && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		buf := make([]byte, 3*BlockSize)
		for off := int64(0); off < min(r.Size(), 64*BlockSize); off += 1000 {
			if n, err := r.ReadAt(buf, off); n < len(buf) && off+int64(len(buf)) <= r.Size() {
				t.Fatalf("%d bytes at %d: %v", n, off, err)
			}
		}
	})
}
