package diskimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample returns an image of n bytes with data that compresses somewhat, holes
// of many sizes, and a hole at its end.
func sample(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	image := make([]byte, n)
	for off := 0; off < n*7/8; off += rng.IntN(n / 20) {
		end := min(off+rng.IntN(n/20), n*7/8)
		for ; off < end; off++ {
			image[off] = byte(rng.IntN(16))
		}
	}
	return image
}

// pack writes image into a new directory and has a program pack it. It returns
// the name of what the program made.
func pack(t testing.TB, image []byte, suffix string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.img"), image, 0o666); err != nil {
		t.Fatal(err)
	}
	if len(command) > 0 {
		run(t, dir, command...)
	}
	return filepath.Join(dir, "x.img"+suffix)
}

func run(t testing.TB, dir string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v; apt-get install xz-utils gzip zstd zip btrfs-progs xfsprogs e2fsprogs mount", err)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

var packings = []struct {
	name, suffix string
	command      []string
}{
	{"raw", "", nil},
	{"xz of many blocks", ".xz", []string{"xz", "-k", "-1", "-T2", "--block-size=1MiB", "x.img"}},
	{"xz of one block", ".xz", []string{"xz", "-k", "-1", "x.img"}},
	{"xz of two streams", ".xz", []string{"sh", "-c", "head -c 1500000 x.img | xz -1c >x.img.xz; tail -c +1500001 x.img | xz -1c >>x.img.xz"}},
	{"gzip", ".gz", []string{"gzip", "-k", "x.img"}},
	{"gzip of two members", ".gz", []string{"sh", "-c", "head -c 1000000 x.img | gzip -c >x.img.gz; tail -c +1000001 x.img | gzip -c >>x.img.gz"}},
	{"zstd", ".zst", []string{"zstd", "-q", "-k", "x.img"}},
	{"zstd of two frames", ".zst", []string{"sh", "-c", "head -c 1000000 x.img | zstd -q >x.img.zst; tail -c +1000001 x.img | zstd -q >>x.img.zst"}},
	{"zstd of pzstd", ".zst", []string{"pzstd", "-q", "-k", "x.img"}},
	{"zstd --long", ".zst", []string{"zstd", "-q", "-k", "-9", "--long=27", "x.img"}},
	{"zip", ".zip", []string{"zip", "-q", "x.img.zip", "x.img"}},
	{"zip, stored", ".zip", []string{"zip", "-q", "-0", "x.img.zip", "x.img"}},
	{"zip64", ".zip", []string{"zip", "-q", "-fz", "x.img.zip", "x.img"}},
	{"zip with notes", ".zip", []string{"sh", "-c", "mkdir d && mv x.img d && echo hello >README && zip -q -r x.img.zip README d"}},
}

// decode decodes into two new files and returns what they hold.
func decode(t *testing.T, in *Input, layout Layout) ([]byte, error) {
	t.Helper()
	out := outputs(t, "a.img", "b.img")
	defer out.Abort()
	a, b := out.Files[0], out.Files[1]
	var seen counted
	size, err := in.Decode(context.Background(), []*os.File{a.File, b.File}, layout, &seen)
	if err != nil {
		return nil, err
	}
	image := contents(t, a.Name())
	if !bytes.Equal(image, contents(t, b.Name())) {
		t.Error("the outputs differ")
	}
	if int64(len(image)) != size || int64(seen) != size {
		t.Errorf("%d bytes written, size %d returned, progress told of %d", len(image), size, seen)
	}
	return image, nil
}

// counted counts the bytes written to it.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

func outputs(t testing.TB, names ...string) *Outputs {
	t.Helper()
	out, err := Create(t.TempDir(), Refuse, names...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func contents(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	want := sample(3<<20 + sectorSize)
	for _, tt := range packings {
		t.Run(tt.name, func(t *testing.T) {
			name := pack(t, want, tt.suffix, tt.command...)
			sum := sha256.Sum256(contents(t, name))
			for _, layout := range []Layout{Sparse, FewExtents} {
				in, err := Open(name, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				if in.ImageName() != "x.img" || in.Size() != announced(tt.name, len(want)) {
					t.Errorf("%s of %d bytes", in.ImageName(), in.Size())
				}
				in.Expect(sum)
				if got, err := decode(t, in, layout); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v; want %d that are the same", len(got), err, len(want))
				}
			}
			testPipe(t, contents(t, name), sum, want)
		})
	}
}

// announced returns the size that a packed image of n bytes states: none if zstd packed
// it from a pipe, or if pzstd packed it.
func announced(packing string, n int) int64 {
	if strings.HasPrefix(packing, "gzip") || strings.HasPrefix(packing, "zstd of ") {
		return 0
	}
	return int64(n)
}

// TestGzipPadding takes zeros behind the last member, as gzip does, and nothing else.
func TestGzipPadding(t *testing.T) {
	want := sample(1 << 20)
	packed := contents(t, pack(t, want, ".gz", "gzip", "-k", "x.img"))
	for _, tt := range []struct {
		name, tail string
		ok         bool
	}{
		{"one zero", "\x00", true},
		{"many zeros", strings.Repeat("\x00", 100_000), true},
		{"garbage", "\x01", false},
		{"garbage behind zeros", strings.Repeat("\x00", 100_000) + "\x01", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "x.img.gz")
			if err := os.WriteFile(name, append(packed[:len(packed):len(packed)], tt.tail...), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := exec.Command("gzip", "-t", name).Run(); (err == nil) != tt.ok {
				t.Fatalf("gzip -t: %v", err)
			}
			in, err := Open(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			got, err := decode(t, in, Sparse)
			if tt.ok && (err != nil || !bytes.Equal(got, want)) || !tt.ok && !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func testPipe(t *testing.T, packed []byte, sum Sum, want []byte) {
	in, err := Open(Stdin, io.MultiReader(bytes.NewReader(packed)))
	if bytes.HasPrefix(packed, []byte("PK")) {
		if err == nil || !strings.Contains(err.Error(), "cannot be read from a pipe") {
			t.Errorf("Open() of zip = %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	in.Expect(sum)
	if got, err := decode(t, in, Sparse); err != nil || !bytes.Equal(got, want) {
		t.Errorf("from a pipe: %d bytes, %v; want %d that are the same", len(got), err, len(want))
	}
}
