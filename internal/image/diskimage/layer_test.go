package diskimage

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// TestLayer compares layers with copies under random writes.
func TestLayer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5*layerBlock).Draw(t, "size")
		base := bytes.Repeat([]byte{7}, size)
		before := bytes.Clone(base)
		l := NewLayer(bytes.NewReader(base), int64(size))
		model := bytes.Clone(base)
		for range rapid.IntRange(0, 8).Draw(t, "writes") {
			if rapid.Bool().Draw(t, "on top") {
				l = NewLayer(l, int64(size))
			}
			off := rapid.IntRange(0, size).Draw(t, "offset")
			p := rapid.SliceOfN(rapid.Byte(), 0, size-off).Draw(t, "bytes")
			if n, err := l.WriteAt(p, int64(off)); n != len(p) || err != nil {
				t.Fatalf("WriteAt() = %d, %v; want %d", n, err, len(p))
			}
			copy(model[off:], p)
		}
		off := rapid.IntRange(0, size-1).Draw(t, "offset of a read")
		want := model[off:]
		p := make([]byte, rapid.IntRange(0, len(want)+10).Draw(t, "length of a read"))
		n, err := l.ReadAt(p, int64(off))
		if n != min(len(p), len(want)) || !bytes.Equal(p[:n], want[:n]) || (err == io.EOF) != (n < len(p)) || err != nil && err != io.EOF {
			t.Fatalf("ReadAt() of %d bytes at %d of %d = %d, %v, or other bytes than were written", len(p), off, size, n, err)
		}
		if !bytes.Equal(base, before) {
			t.Fatal("what lies below was changed")
		}
	})
}

func TestLayerErrors(t *testing.T) {
	l := NewLayer(bytes.NewReader(make([]byte, 100)), layerBlock) // less than it says
	if _, err := l.ReadAt(make([]byte, 200), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadAt() of an image that ends too early = %v", err)
	}
	if _, err := l.WriteAt([]byte{1}, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("WriteAt() to an image that ends too early = %v", err)
	}
	for _, off := range []int64{-1, layerBlock, 1 << 62} {
		if _, err := l.WriteAt([]byte{1}, off); err == nil {
			t.Errorf("WriteAt(%d) of an image of %d bytes: no error", off, layerBlock)
		}
		if _, err := l.ReadAt([]byte{1}, off); err != io.EOF {
			t.Errorf("ReadAt(%d) = %v; want io.EOF", off, err)
		}
	}
	if _, err := (Patch{Offset: layerBlock - 1, Data: make([]byte, 2)}).On(l); err == nil {
		t.Error("a patch over the end: no error")
	}
}
