package diskimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// build decodes the file name, or a pipe with its content, into an output of dir.
func build(dir, name string, stdin io.Reader) error {
	in, err := Open(name, stdin)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := Create(dir, Refuse, "out.img")
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := in.Decode(context.Background(), []*os.File{out.Files[0].File}, Sparse, nil); err != nil {
		return err
	}
	return out.Commit()
}

func mustBeEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestDecodeDamaged flips bits of packed images. Each flip must be noticed, since all
// formats have checksums; bits that no decoder reads are left out.
func TestDecodeDamaged(t *testing.T) {
	image := sample(1 << 20)
	for _, tt := range packings[1:] {
		t.Run(tt.name, func(t *testing.T) {
			packed := contents(t, pack(t, image, tt.suffix, tt.command...))
			dir, name := t.TempDir(), filepath.Join(t.TempDir(), "x.img"+tt.suffix)
			broken := func(what string, content []byte) {
				if err := os.WriteFile(name, content, 0o666); err != nil {
					t.Fatal(err)
				}
				err := build(dir, name, nil)
				if !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), name+": ") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", what, err)
				}
				mustBeEmpty(t, dir)
				if err := build(dir, Stdin, bytes.NewReader(content)); err == nil {
					t.Errorf("%s: read from a pipe without complaint", what)
				}
				mustBeEmpty(t, dir)
			}
			for i := 1; i < 12; i++ {
				broken("cut off", packed[:len(packed)*i/12])
			}
			broken("last byte missing", packed[:len(packed)-1])
			for i := 1; i < 12; i++ {
				flipped := bytes.Clone(packed)
				flipped[len(packed)*i/12] ^= 0x10
				broken("bit flipped", flipped)
			}
		})
	}
}

func TestExpect(t *testing.T) {
	for _, tt := range packings {
		t.Run(tt.name, func(t *testing.T) {
			name := pack(t, sample(1<<20), tt.suffix, tt.command...)
			in, err := Open(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			in.Expect(Sum{1})
			_, err = decode(t, in, Sparse)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "want 01000000") {
				t.Errorf("Decode() = %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, content, want string }{
		{"empty.img", "", "empty.img: empty"},
		{"page.img.xz", "<!DOCTYPE html>", `not xz, begins with "<!DOCTYP"`},
		{"page.IMG.ZIP", "<!DOCTYPE html>", `not zip, begins with "<!DOCTYP"`},
		{"x.img.bz2", "BZh91AY&SY", "is bzip2; want .img, .img.xz"},
		{"x.img", "7z\xbc\xaf\x27\x1c", "is 7-Zip; want"},
	} {
		name := filepath.Join(dir, tt.name)
		if err := os.WriteFile(name, []byte(tt.content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%s) = %v; want %s", tt.name, err, tt.want)
		}
	}
	if _, err := Open(filepath.Join(dir, "none.img"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open() of a file that is not there = %v", err)
	}
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("Open() of a directory = %v", err)
	}
}

func TestOpenZip(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"several", "cp x.img y.img; zip -q x.img.zip x.img y.img", "holds 2 images, want one: x.img, y.img"},
		{"none", "echo >a; zip -q x.img.zip a", "holds no .img: a"},
		{"encrypted", "zip -q -P secret x.img.zip x.img", "x.img: is encrypted"},
		{"bzip2", "zip -q -Z bzip2 x.img.zip x.img", "x.img: packed by method 12; want deflate or store"},
		{"of a Mac", "mkdir __MACOSX; echo >__MACOSX/._x.img; zip -q -r x.img.zip x.img __MACOSX", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := pack(t, sample(1<<16), ".zip", "sh", "-c", tt.script)
			in, err := Open(name, nil)
			if err == nil {
				in.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.want)) {
				t.Errorf("Open() = %v; want %q", err, tt.want)
			}
		})
	}
}

func TestDecodeWholeSectors(t *testing.T) {
	for _, size := range []int{1, 511, 513} {
		err := build(t.TempDir(), Stdin, bytes.NewReader(bytes.Repeat([]byte{1}, size)))
		if err == nil || !strings.Contains(err.Error(), "want whole sectors of 512") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := build(t.TempDir(), Stdin, bytes.NewReader(bytes.Repeat([]byte{1}, 512))); err != nil {
		t.Error(err)
	}
}

// TestOpenStdin: a file on standard input is read as it is by its name. Only so can
// standard input be a zip.
func TestOpenStdin(t *testing.T) {
	want := sample(1 << 20)
	for _, tt := range packings {
		f, err := os.Open(pack(t, want, tt.suffix, tt.command...))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, err := Open(Stdin, f)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got, err := decode(t, in, Sparse); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
	}
}
