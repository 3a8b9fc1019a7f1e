package xz

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// whole holds a small file, made by xz, for each thing that a file can have.
var whole = map[string]string{
	"empty":                   "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x00\x00\x00\x00\x1c\xdfD!\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ",
	"CRC-32":                  "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\xe0\x00 \x00\x16]\x002\x9d\x08F\xa8B\xb3S\x9aSGh`\xcc=pr\xf7C\xa8\x98\x00\x00\x00\x00\x88\xe3\xc3\xbe\x00\x01.!Y\xac\xe8g\x90B\x99\x0d\x01\x00\x00\x00\x00\x01YZ",
	"CRC-64, sizes in header": "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x04\xc0\x1e!!\x01\x16\x00\x00\x00\x00\x00\x00\x00\x00\x00p\xce\x9d\x17\xe0\x00 \x00\x16]\x002\x9d\x08F\xa8B\xb3S\x9aSGh`\xcc=pr\xf7C\xa8\x98\x00\x00\x00\x00Tn2\xd85\xfa\xcb\xcb\x00\x01:!\x0c{FI\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ",
	"SHA-256":                 "\xfd7zXZ\x00\x00\x0a\xe1\xfb\x0c\xa1\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\xe0\x00 \x00\x16]\x002\x9d\x08F\xa8B\xb3S\x9aSGh`\xcc=pr\xf7C\xa8\x98\x00\x00\x00\x00O}\xe5\xb8\xfet\x15J\xdfB\xbeR3\x1a\x7f\xfb\xb3\x90&\x88\x83\xd5\x1b\x13\xd5yD\x07\xd9\x0a.H\x00\x01J!\xfa\x02yf\x18\x9bK\x9a\x01\x00\x00\x00\x00\x0aYZ",
	"no check":                "\xfd7zXZ\x00\x00\x00\xff\x12\xd9A\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\xe0\x00 \x00\x16]\x002\x9d\x08F\xa8B\xb3S\x9aSGh`\xcc=pr\xf7C\xa8\x98\x00\x00\x00\x00\x00\x01*!]i\x84\x03\x06r\x9ez\x01\x00\x00\x00\x00\x00YZ",
	"noise":                   "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x0b\x00P2\xa6\xacDn*xX\xca\xce\x00\x06o\x17\x8d\x00\x01 \x0c\xa2\xdd\xb4\xbc\x90B\x99\x0d\x01\x00\x00\x00\x00\x01YZ",
	"zeros":                   "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\xe1\x11o\x00M]\x00\x00o\xfd\xff\xff\xa3\xb7\xffG>H\x15r9aQ\xb8\x92(\xe6\xa3\x86\x07\xf9\xee\xe4\x1e\x82\xd3/\xc5:<\x01K\xb1~\xc9\x8a\x8aM/\xa3\x0d\xd9\x7f\xa6\xe3\x8c#\x11S\xe0Y\x18\xc5u\x8a\xe2w\xf8\xb6\x94\x7f\x0cj\xc0\xdetId\xe2a\x8a\xb9&\x00\x00\x00\x00\x00\xdc\xc8\xa9\xa6\x00\x01e\xf0\xa2\x04\x00\x00;c33>0\x0d\x8b\x02\x00\x00\x00\x00\x01YZ",
	"two blocks":              "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\xc0\x18\x14!\x01\x16\x00\x90\xe1+\x94\x01\x00\x13etaoin shrdlu etaoin\x00Vb'\xed\x02\xc0\x11\x0d!\x01\x16\x00\xabE\xd4\xde\x01\x00\x0c etaoin shrdl\x00\x00\x00\x00&\xe5~\xbe\x00\x02(\x14!\x0d\x00\x00Q#t\x9c>0\x0d\x8b\x02\x00\x00\x00\x00\x01YZ",
	"two streams":             "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x04etaoi\x00\x00\x00\x00h7\xb3\xec\x00\x01\x19\x05\xbc\xe8\xec\xcb\x90B\x99\x0d\x01\x00\x00\x00\x00\x01YZ\x00\x00\x00\x00\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x04etaoi\x00\x00\x00\x00h7\xb3\xec\x00\x01\x19\x05\xbc\xe8\xec\xcb\x90B\x99\x0d\x01\x00\x00\x00\x00\x01YZ",
	"lc, lp, pb":              "\xfd7zXZ\x00\x00\x01i\"\xde6\x02\x00!\x01\x00\x00\x00\x007'\x97\xd6\xe0\x00 \x00\x17\xd0\x002\x9d\x08&\xf3I\xb8@s5>\x11\xd8\xbe\xb6)\x1fk\xaf\xd3\x12\xe0\x00\x00\x00\x88\xe3\xc3\xbe\x00\x01/!\x18\x9d\xf3~\x90B\x99\x0d\x01\x00\x00\x00\x00\x01YZ",
}

// TestCutOff cuts small files at every byte.
func TestCutOff(t *testing.T) {
	for name, file := range whole {
		for n := range len(file) {
			if strings.HasSuffix(file, "YZ"+file[n:]) || name == "two streams" && n%4 == 0 && strings.HasSuffix(strings.TrimRight(file[:n], "\x00"), "YZ") {
				continue // the first of two streams, whole
			}
			for way, unpack := range ways {
				_, err := unpack([]byte(file[:n]))
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s, %d of %d bytes, %s: %v, want an error that wraps ErrCorrupt", name, n, len(file), way, err)
				}
				if strings.HasPrefix(way, "stream") && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %d of %d bytes, %s: %v, want an unexpected EOF", name, n, len(file), way, err)
				}
			}
		}
	}
}

// TestBitFlips flips every bit of small files. A CRC, a check or a comparison covers each
// of them, except that zeros come out of LZMA whatever its properties are.
func TestBitFlips(t *testing.T) {
	for name, file := range whole {
		if name == "no check" {
			continue
		}
		for bit := range 8 * len(file) {
			damaged := []byte(file)
			damaged[bit/8] ^= 1 << (bit % 8)
			for _, way := range []string{"one worker", "stream"} {
				got, err := ways[way](damaged)
				if err == nil && (name != "zeros" || !isZero(got) || len(got) != 70000) {
					t.Errorf("%s, bit %d of byte %d flipped, %s: got %d bytes, want an error", name, bit%8, bit/8, way, len(got))
				}
				if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s, bit %d of byte %d flipped, %s: %v wraps neither ErrCorrupt nor ErrUnsupported", name, bit%8, bit/8, way, err)
				}
			}
		}
	}
}

// FuzzReader wants the decoder of streams to end in one of three ways, and the decoder by
// index to agree with it on files that it finds whole.
func FuzzReader(f *testing.F) {
	for _, file := range whole {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r := NewReader(bytes.NewReader(file), 1<<20)
		want, err := io.ReadAll(io.LimitReader(r, 8<<20))
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("%v wraps neither ErrCorrupt nor ErrUnsupported", err)
		}
		if err != nil || len(want) == 8<<20 {
			return
		}
		if got, err := ways["one worker"](file); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("index gives %d bytes, %v; stream %d", len(got), err, len(want))
		}
	})
}

// FuzzIndex is FuzzReader with the two decoders exchanged.
func FuzzIndex(f *testing.F) {
	for _, file := range whole {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		x, err := OpenIndex(bytes.NewReader(file), int64(len(file)))
		if err == nil && x.Size() > 8<<20 {
			return
		}
		want, err := ways["three workers"](file)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("%v wraps neither ErrCorrupt nor ErrUnsupported", err)
		}
		if err != nil {
			return
		}
		if got, err := ways["stream"](file); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("stream gives %d bytes, %v; index %d", len(got), err, len(want))
		}
	})
}

// FuzzChunks feeds the LZMA2 decoder, which no CRC protects here.
func FuzzChunks(f *testing.F) {
	f.Add([]byte(plain().payload))
	f.Add([]byte(lzma().payload))
	f.Add([]byte("\x01\x00\x02abc" + lzma().payload)) // properties after a plain chunk
	f.Add([]byte(lzma().payload[:29] + "\x02\x00\x02abc\x80\x00\x20\x00\x16" + etaoin + "\x00"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var src source
		src.reset(bytes.NewReader(payload), 0)
		b := blockReader{maxDict: 4 << 10}
		if err := b.begin(&src, 4<<10, -1); err != nil {
			t.Fatal(err)
		}
		for !b.ended {
			if _, err := b.piece(); err != nil {
				if !errors.Is(err, ErrCorrupt) && err != io.EOF {
					t.Fatalf("%v does not wrap ErrCorrupt", err)
				}
				return
			}
		}
	})
}
