package card

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A fake is a card in memory that remembers what it was asked for.
type fake struct {
	content []byte
	ops     []op
	closed  bool
	done    bool // it was finished

	failWrite, failRead int64 // the offset that an error is at; negative for none
	drops               Range // what is written there is lost
	gone                bool  // errors come since it was taken out
	block               chan struct{}
	noFinish            bool
}

// An op is a write, or a flush where there are no bytes.
type op struct {
	p   []byte
	off int64
}

var errFake = errors.New("input/output error")

func newFake(content []byte) *fake {
	return &fake{content: bytes.Clone(content), failWrite: -1, failRead: -1}
}

func within(fail, off int64, p []byte) bool { return fail >= off && fail < off+int64(len(p)) }

func (f *fake) WriteAt(p []byte, off int64) (int, error) {
	if f.block != nil {
		<-f.block
	}
	switch {
	case len(p)%SectorSize != 0 || off%SectorSize != 0:
		return 0, fmt.Errorf("write of %d bytes at %d", len(p), off)
	case within(f.failWrite, off, p):
		return 0, errFake
	}
	f.ops = append(f.ops, op{bytes.Clone(p), off})
	if off < f.drops.End && off+int64(len(p)) > f.drops.Start {
		return len(p), nil
	}
	return copy(f.content[off:], p), nil
}

func (f *fake) ReadAt(p []byte, off int64) (int, error) {
	if within(f.failRead, off, p) {
		return 0, errFake
	}
	return copy(p, f.content[off:]), nil
}

func (f *fake) Sync() error    { f.ops = append(f.ops, op{}); return nil }
func (f *fake) Discard() error { return errors.ErrUnsupported }
func (f *fake) Gone() bool     { return f.gone }
func (f *fake) Close() error   { f.closed = true; return nil }
func (f *fake) Finish() error {
	f.done = true
	if f.noFinish {
		return errors.New("BLKRRPART: busy")
	}
	return nil
}

// noise returns bytes that no image has.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// An image in memory.
type memory struct{ *bytes.Reader }

// table makes an image of size bytes that begins with a partition table and holds
// nothing else that is known.
func table(size int) []byte {
	p := bytes.Repeat([]byte("image, "), size/7+1)[:size]
	copy(p[510:], "\x55\xaa")
	return p
}

func hasTable(disk []byte) bool { return disk[510] == 0x55 && disk[511] == 0xaa }

func job(name string, f *fake, image []byte) Job {
	return Job{
		Name: name, Device: f, Image: memory{bytes.NewReader(image)}, Ranges: All(int64(len(image))),
		Disk: Disk{Path: "/dev/" + name, Size: int64(len(f.content))},
	}
}

const imageSize = 3*chunkSize + 5*SectorSize

// TestWrite writes several cards, of which some are bad, each in its own way.
func TestWrite(t *testing.T) {
	image := table(imageSize)
	for _, tt := range []struct {
		name string
		bad  func(*fake)
		want string // in the error; empty if the card is good
	}{
		{"good", func(*fake) {}, ""},
		{"good too", func(*fake) {}, ""},
		{"fails in the middle", func(f *fake) { f.failWrite = chunkSize + 7 }, "/dev/x: write at byte 4194304: input/output error"},
		{"cannot be read", func(f *fake) { f.failRead = 2 * chunkSize }, "/dev/x: read at byte 8388608: input/output error"},
		{"drops what is written", func(f *fake) { f.drops = Range{chunkSize, chunkSize + 1} }, "/dev/x: bytes 4194304 to 8388607 are not what was written there: the card or its reader is broken"},
		{"drops the end", func(f *fake) { f.drops = Range{imageSize - 1, imageSize} }, "/dev/x: bytes 12582912 to 12585471 are not what was written there: "},
		{"taken out", func(f *fake) { f.failWrite, f.gone = chunkSize, true }, "/dev/x: was taken out, unfinished"},
		{"full", func(f *fake) { f.failWrite = 0 }, "/dev/x: write at byte 0: input/output error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad, good := newFake(noise(imageSize+chunkSize)), newFake(noise(imageSize+SectorSize))
			copy(bad.content[510:], "\x55\xaa")
			tt.bad(bad)
			results := Write(t.Context(), []Job{job("x", bad, image), job("y", good, image)}, Options{})
			if r := results[1]; r.Err != nil || !r.Verified || r.Written != imageSize || !bytes.Equal(good.content[:imageSize], image) || !good.done {
				t.Errorf("the good card: %+v", r)
			}
			r := results[0]
			if !bad.closed || !good.closed {
				t.Error("a card was not closed")
			}
			if tt.want == "" {
				if r.Err != nil || r.Digest != results[1].Digest || r.Digest == "" {
					t.Errorf("%+v; want none of it wrong", r)
				}
				return
			}
			if r.Err == nil || !strings.HasPrefix(r.Err.Error(), tt.want) || r.Verified || bad.done || strings.Contains(r.Err.Error(), "\n") {
				t.Errorf("%+v; want %s", r, tt.want)
			}
			if hasTable(bad.content) != (bad.failWrite == 0) {
				t.Errorf("a partition table on the bad card: %v", hasTable(bad.content))
			}
		})
	}
}

// TestDigest: the digest is that of the image, whatever is written of it last.
func TestDigest(t *testing.T) {
	image := table(imageSize)
	f := newFake(noise(imageSize))
	r := Write(t.Context(), []Job{job("x", f, image)}, Options{NoVerify: true})[0]
	digest, err := Digest(t.Context(), memory{bytes.NewReader(image)}, All(imageSize))
	if err != nil || digest != r.Digest || r.Verified {
		t.Errorf("Digest() = %s, %v; the card's %s, verified %v", digest, err, r.Digest, r.Verified)
	}
	image[imageSize-1]++
	if other, _ := Digest(t.Context(), memory{bytes.NewReader(image)}, All(imageSize)); other == digest {
		t.Error("another image has the same digest")
	}
}

// TestCut cuts the power after any of the writes, with any part of what was not
// flushed lost. There is no partition table before all else is safe.
func TestCut(t *testing.T) {
	image := table(imageSize)
	before := noise(imageSize + chunkSize)
	copy(before[510:], "\x55\xaa")
	copy(before[len(before)-SectorSize:], "EFI PART") // of a disk that had a GUID table
	f := newFake(before)
	if r := Write(t.Context(), []Job{job("x", f, image)}, Options{})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if bytes.HasPrefix(f.content[len(before)-SectorSize:], []byte("EFI PART")) {
		t.Error("the copy of the old table is still there")
	}
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.IntRange(0, len(f.ops)).Draw(t, "cut")
		safe := 0 // what was written before the last flush
		for i, o := range f.ops[:end] {
			if o.p == nil {
				safe = i
			}
		}
		disk := bytes.Clone(before)
		for i, o := range f.ops[:end] {
			if i >= safe && o.p != nil && rapid.Bool().Draw(t, "lost") {
				continue
			}
			copy(disk[o.off:], o.p)
		}
		if safe > 0 && hasTable(disk) && !bytes.Equal(disk[:imageSize], image) {
			t.Fatalf("after %d of %d writes and flushes there is a partition table, and not all else", end, len(f.ops))
		}
	})
}

// TestOrder: a card is written in order, each byte once but for the first page.
func TestOrder(t *testing.T) {
	image := table(imageSize)
	f := newFake(noise(imageSize))
	Write(t.Context(), []Job{job("x", f, image)}, Options{})
	writes := slices.DeleteFunc(f.ops, func(o op) bool { return o.p == nil })
	if first, last := writes[0], writes[len(writes)-1]; first.off != 0 || last.off != 0 || len(last.p) != headSize || hasTable(first.p) || !hasTable(last.p) {
		t.Error("the first page is not written first, without a table, and last, with it")
	}
	end := int64(0)
	for _, o := range writes[1 : len(writes)-1] {
		if o.off != end {
			t.Errorf("a write at byte %d behind one that ends at %d", o.off, end)
		}
		end = o.off + int64(len(o.p))
	}
}

// TestSlow: a card that never finishes a write does not keep the other card from being
// finished.
func TestSlow(t *testing.T) {
	image := table(imageSize)
	slow, quick := newFake(noise(imageSize)), newFake(noise(imageSize))
	slow.block = make(chan struct{})
	verified := make(chan struct{})
	var once sync.Once
	o := Options{Progress: func(j Job, phase Phase, _ int64) io.WriteCloser {
		if j.Name == "quick" && phase == Verifying {
			once.Do(func() { close(verified) })
		}
		return nothing{}
	}}
	go func() {
		<-verified // or the test waits for ever
		close(slow.block)
	}()
	for _, r := range Write(t.Context(), []Job{job("slow", slow, image), job("quick", quick, image)}, o) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	image := table(imageSize)
	f := newFake(table(imageSize))
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Progress: func(_ Job, phase Phase, _ int64) io.WriteCloser {
		if phase == Verifying {
			cancel()
		}
		return nothing{}
	}}
	r := Write(ctx, []Job{job("x", f, image)}, o)[0]
	if !errors.Is(r.Err, context.Canceled) || hasTable(f.content) || !f.closed {
		t.Errorf("%v, a table: %v, closed: %v", r.Err, hasTable(f.content), f.closed)
	}
	if want := "/dev/x: not finished, it has no partitions now: context canceled"; r.Err.Error() != want {
		t.Errorf("error %v; want %s", r.Err, want)
	}
}

// TestNotReread: a card is good even where the kernel cannot read its partition table.
func TestNotReread(t *testing.T) {
	f := newFake(noise(imageSize))
	f.noFinish = true
	r := Write(t.Context(), []Job{job("x", f, table(imageSize))}, Options{})[0]
	if r.Err != nil || r.Note != "BLKRRPART: busy: take the card out and in again before you use it here" {
		t.Errorf("%+v", r)
	}
}

// TestParts writes parts of an image and leaves the rest as it was.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		image, before := table(imageSize), noise(imageSize)
		var ranges []Range
		for start := int64(0); start < imageSize; {
			end := min(start+alignment*rapid.Int64Range(1, 2*chunkSize/alignment).Draw(t, "length"), imageSize)
			ranges = append(ranges, Range{start, end})
			start = end + alignment*rapid.Int64Range(1, chunkSize/alignment).Draw(t, "gap")
		}
		f := newFake(before)
		j := job("x", f, image)
		j.Ranges = ranges
		if r := Write(context.Background(), []Job{j}, Options{})[0]; r.Err != nil || r.Written != Total(ranges) {
			t.Fatalf("%+v", r)
		}
		want := bytes.Clone(before)
		for _, r := range ranges {
			copy(want[r.Start:r.End], image[r.Start:])
		}
		if !bytes.Equal(f.content, want) {
			t.Fatal("other bytes than those were written, or not all")
		}
	})
}
