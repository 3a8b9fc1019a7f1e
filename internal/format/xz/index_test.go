package xz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// image is noise that repeats after 100,000 bytes, and then zeros.
func image() []byte {
	p := make([]byte, 3<<20)
	noise := rand.NewChaCha8([32]byte{1})
	noise.Read(p[:100_000])
	copy(p[100_000:], p[:100_000])
	return p
}

func TestBlocks(t *testing.T) {
	file := pack(t, image(), "-T2", "--block-size=1MiB")
	x, err := OpenIndex(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if x.Size() != 3<<20 || x.MaxBlock() != 1<<20 || len(x.Blocks()) != 3 {
		t.Errorf("%d bytes in %d blocks of up to %d; want %d in 3 of %d", x.Size(), len(x.Blocks()), x.MaxBlock(), 3<<20, 1<<20)
	}
	offset, dataOffset := int64(headerSize), int64(0)
	for i, b := range x.Blocks() {
		if b.Offset != offset || b.DataOffset != dataOffset || b.Size != 1<<20 || b.PackedSize%4 != 0 {
			t.Errorf("block %d is %+v; want it at %d, contents at %d", i, b, offset, dataOffset)
		}
		offset, dataOffset = offset+b.PackedSize, dataOffset+b.Size
	}
}

// TestSmallDictionary decodes matches that reach back further than the
// dictionary that the block's header tells of.
func TestSmallDictionary(t *testing.T) {
	file := pack(t, image(), "--check=none")
	header := file[headerSize : headerSize+12]
	if string(header[1:4]) != "\x00\x21\x01" {
		t.Fatalf("block header is % x", header)
	}
	header[4] = 0 // 4 KiB
	binary.LittleEndian.PutUint32(header[8:], crc32.ChecksumIEEE(header[:8]))
	for way, unpack := range ways {
		if _, err := unpack(file); !errors.Is(err, errDistance) {
			t.Errorf("%s: %v, want %v", way, err, errDistance)
		}
	}
}

func TestMaxDict(t *testing.T) {
	for _, tt := range []struct {
		max int64
		ok  bool
	}{{1 << 20, true}, {1<<20 - 1, false}} {
		file := pack(t, image(), "--lzma2=preset=0,dict=1MiB")
		_, err := io.Copy(io.Discard, NewReader(bytes.NewReader(file), tt.max))
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("stream with at most %d bytes of dictionary: %v", tt.max, err)
		}
		x, err := OpenIndex(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		err = x.Decode(t.Context(), 1, tt.max, func(int64, []byte) error { return nil })
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("index with at most %d bytes of dictionary: %v", tt.max, err)
		}
	}
}

// TestDecodeStops has the sink fail, and the context end, after some pieces.
func TestDecodeStops(t *testing.T) {
	file := pack(t, image(), "-T2", "--block-size=64KiB")
	x, err := OpenIndex(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	errFull := errors.New("disk full")
	for _, workers := range []int{1, 2, 7} {
		var calls atomic.Int64
		err := x.Decode(t.Context(), workers, DefaultMaxDict, func(int64, []byte) error {
			if calls.Add(1) >= 5 {
				return errFull
			}
			return nil
		})
		if n := calls.Load(); err != errFull || n < 5 || n >= int64(5+workers) {
			t.Errorf("%d workers: sink called %d times, %v; want 5 times and %v", workers, n, err, errFull)
		}

		ctx, cancel := context.WithCancel(t.Context())
		calls.Store(0)
		err = x.Decode(ctx, workers, DefaultMaxDict, func(int64, []byte) error {
			if calls.Add(1) == 5 {
				cancel()
			}
			return nil
		})
		if n := calls.Load(); err != context.Canceled || n < 5 || n >= int64(5+workers) {
			t.Errorf("%d workers: sink called %d times, %v; want 5 times and %v", workers, n, err, context.Canceled)
		}
	}
}

// TestReadError: an error of the input is returned as it is, and not called damage.
func TestReadError(t *testing.T) {
	file := pack(t, image())
	for _, n := range []int{0, 5, 12, 13, 50_000, len(file) - 20, len(file) - 3} {
		r := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(iotest.ErrTimeout))
		_, err := io.Copy(io.Discard, NewReader(r, DefaultMaxDict))
		if !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrCorrupt) {
			t.Errorf("input fails after %d bytes: %v, want %v", n, err, iotest.ErrTimeout)
		}
	}
	idle := io.MultiReader(bytes.NewReader(file[:100]), iotest.ErrReader(nil))
	if _, err := io.Copy(io.Discard, NewReader(idle, DefaultMaxDict)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("input that gives nothing: %v, want %v", err, io.ErrNoProgress)
	}
}

// TestReaderAllocates: memory grows with the input alone, even if a few bytes claim a
// dictionary of 64 MiB.
func TestReaderAllocates(t *testing.T) {
	file := pack(t, []byte("abc"), "--lzma2=dict=64MiB")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := io.Copy(io.Discard, NewReader(bytes.NewReader(file), DefaultMaxDict)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	got := after.TotalAlloc - before.TotalAlloc
	if got > 1<<20 {
		t.Errorf("%d bytes for a file of %d", got, len(file))
	}
}
