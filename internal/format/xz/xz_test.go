package xz

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// pack has the xz program compress data. It is the oracle of these tests.
func pack(t interface{ Fatalf(string, ...any) }, data []byte, args ...string) []byte {
	cmd := exec.Command("xz", append([]string{"-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(data)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("xz %q (of Debian's package xz-utils): %v: %s", args, err, complaint.Bytes())
	}
	return out.Bytes()
}

// ways are the ways to decode a whole file.
var ways = map[string]func(file []byte) ([]byte, error){
	"one worker":    func(file []byte) ([]byte, error) { return unpackIndexed(file, 1) },
	"three workers": func(file []byte) ([]byte, error) { return unpackIndexed(file, 3) },
	"stream": func(file []byte) ([]byte, error) {
		return io.ReadAll(NewReader(bytes.NewReader(file), DefaultMaxDict))
	},
	"stream in bits": func(file []byte) ([]byte, error) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(file)), DefaultMaxDict)
		var out []byte
		for size := 0; ; size = (size*7 + 1) % 1009 {
			p := make([]byte, size)
			n, err := r.Read(p)
			out = append(out, p[:n]...)
			if err == io.EOF {
				return out, nil
			}
			if err != nil {
				return out, err
			}
		}
	},
	"stream copied": func(file []byte) ([]byte, error) {
		var out bytes.Buffer
		_, err := NewReader(iotest.DataErrReader(bytes.NewReader(file)), DefaultMaxDict).WriteTo(&out)
		return out.Bytes(), err
	},
}

func unpackIndexed(file []byte, workers int) ([]byte, error) {
	x, err := OpenIndex(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	if x.Size() > 64<<20 {
		return nil, fmt.Errorf("%w: more than any test packs", ErrCorrupt)
	}
	out := make([]byte, x.Size())
	return out, x.Decode(context.Background(), workers, DefaultMaxDict, func(off int64, p []byte) error {
		copy(out[off:], p)
		return nil
	})
}

// contents draws data as images have it: text, noise, zeros, and repetitions from near
// and far.
func contents(t *rapid.T, limit int) []byte {
	var data []byte
	for len(data) < limit {
		n := 1 << rapid.IntRange(0, 17).Draw(t, "log of size")
		n += rapid.IntRange(0, n).Draw(t, "rest of size")
		noise := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return data
		case 1:
			data = append(data, make([]byte, n)...)
		case 2:
			for range n {
				data = append(data, byte(noise.Uint32()))
			}
		case 3:
			for range n {
				data = append(data, "etaoin shrdlu"[noise.IntN(13)])
			}
		default:
			if len(data) == 0 {
				continue
			}
			from := rapid.IntRange(1, len(data)).Draw(t, "distance")
			for range n {
				data = append(data, data[len(data)-from])
			}
		}
	}
	return data
}

// options draws arguments of xz.
func options(t *rapid.T) []string {
	args := []string{"--check=" + rapid.SampledFrom([]string{"none", "crc32", "crc64", "sha256"}).Draw(t, "check")}
	if rapid.Bool().Draw(t, "threads") {
		args = append(args, fmt.Sprintf("-T%d", rapid.IntRange(0, 3).Draw(t, "threads")))
	}
	if rapid.Bool().Draw(t, "blocks") {
		args = append(args, fmt.Sprintf("--block-size=%d", rapid.IntRange(4<<10, 1<<20).Draw(t, "block size")))
	}
	if rapid.Bool().Draw(t, "preset") {
		return append(args, fmt.Sprintf("-%d", rapid.IntRange(0, 6).Draw(t, "preset")))
	}
	lc := rapid.IntRange(0, 4).Draw(t, "lc")
	return append(args, fmt.Sprintf("--lzma2=lc=%d,lp=%d,pb=%d,dict=%d", lc, rapid.IntRange(0, 4-lc).Draw(t, "lp"),
		rapid.IntRange(0, 4).Draw(t, "pb"), 4<<10<<rapid.IntRange(0, 10).Draw(t, "dict")))
}

// TestAgainstProgram decodes what xz made of anything, in all ways.
func TestAgainstProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file, want []byte
		for range rapid.IntRange(1, 3).Draw(t, "streams") {
			data := contents(t, 1<<19)
			file = append(file, pack(t, data, options(t)...)...)
			file = append(file, make([]byte, 4*rapid.IntRange(0, 3).Draw(t, "padding"))...)
			want = append(want, data...)
		}
		for name, unpack := range ways {
			got, err := unpack(file)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, %v; want %d bytes", name, len(got), err, len(want))
			}
		}
	})
}

// TestDamagedAgainstProgram flips a bit that no check covers: we must refuse what xz
// refuses, and decode what it takes to the same bytes.
func TestDamagedAgainstProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lc := rapid.IntRange(0, 4).Draw(t, "lc")
		file := pack(t, contents(t, 1<<14), "--check=none", fmt.Sprintf("--lzma2=dict=64KiB,lc=%d,lp=%d", lc, 4-lc))
		if len(file) == 32 {
			return // empty
		}
		damaged := file[headerSize+12 : len(file)-headerSize-12]
		damaged[rapid.IntRange(0, len(damaged)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		cmd := exec.Command("xz", "-dc")
		cmd.Stdin = bytes.NewReader(file)
		want, refused := cmd.Output()
		for name, unpack := range ways {
			got, err := unpack(file)
			if (err == nil) != (refused == nil) || err == nil && !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, %v; xz: %d bytes, %v", name, len(got), err, len(want), refused)
			}
		}
	})
}

// TestDistances has matches of each short distance, of several lengths.
func TestDistances(t *testing.T) {
	noise := rand.New(rand.NewPCG(3, 4))
	var want []byte
	for dist := 1; dist < 40; dist++ {
		for _, n := range []int{2, 15, 16, 17, 33, 300} {
			for range dist {
				want = append(want, byte(noise.Uint32()))
			}
			for range n {
				want = append(want, want[len(want)-dist])
			}
		}
	}
	file := pack(t, want)
	for name, unpack := range ways {
		if got, err := unpack(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d others", name, len(got), err, len(want))
		}
	}
}

// TestSlidingWindow decodes blocks that are larger than the window.
func TestSlidingWindow(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	var want []byte
	for len(want) < 6<<20 {
		for range 9 << 10 {
			want = append(want, "0123456789abcdef"[noise.IntN(16)])
		}
		from := len(want) - 1 - noise.IntN(min(len(want), 64<<10))
		want = append(want, want[from:min(len(want), from+5<<10)]...)
	}
	// Matches reach back as far as the dictionary does.
	far := bytes.Repeat(want[:64<<10], 90)
	if file := pack(t, far, "--lzma2=preset=0,dict=64KiB"); len(file) > 100<<10 {
		t.Errorf("%d bytes from %d: the matches are not used", len(file), len(far))
	} else if got, err := ways["stream"](file); err != nil || !bytes.Equal(got, far) {
		t.Errorf("matches from the dictionary's start: %d bytes, %v; want %d others", len(got), err, len(far))
	}
	for _, args := range []string{"--lzma2=preset=0,dict=64KiB", "--lzma2=preset=0,dict=1MiB --check=none"} {
		t.Run(args, func(t *testing.T) {
			file := pack(t, want, strings.Fields(args)...)
			for name, unpack := range ways {
				if got, err := unpack(file); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v; want %d bytes", name, len(got), err, len(want))
				}
			}
		})
	}
}
