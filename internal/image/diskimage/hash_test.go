package diskimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestHashPatched compares with what crypto/sha256 says of the patched bytes,
// and checks that Apply puts the same bytes into a file.
func TestHashPatched(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.img")
	rapid.Check(t, func(t *rapid.T) {
		image := drawImage(t)
		image = image[:len(image)/sectorSize*sectorSize]
		f := sparseFile(t, name, image)
		defer f.Close()
		patches := []Patch{{}}
		for size := int64(len(image)); size > 0 && len(patches) < 6; {
			off := rapid.Int64Range(0, size-1).Draw(t, "offset")
			n := rapid.Int64Range(1, min(2*sectorSize, size-off)).Draw(t, "bytes")
			patches = append(patches, Patch{off, bytes.Repeat([]byte{byte(len(patches))}, int(n))})
		}
		var seen counted
		sums, err := HashPatched(context.Background(), f, patches, &seen)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range patches {
			want := bytes.Clone(image)
			copy(want[p.Offset:], p.Data)
			if sums[i] != Sum(sha256.Sum256(want)) {
				t.Errorf("patch at %d: wrong sum", p.Offset)
			}
			clone := sparseFile(t, name+".clone", image)
			defer clone.Close()
			if err := p.Apply(clone); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(clone.Name()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("patch at %d: wrong bytes, %v", p.Offset, err)
			}
		}
	})
}

func sparseFile(t *rapid.T, name string, image []byte) *os.File {
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{files: []*os.File{f}, layout: Sparse, count: counter(nil)}
	if err := w.write(0, image); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(int64(len(image))); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPatchCheck(t *testing.T) {
	const size = 4096
	sector := make([]byte, sectorSize)
	for _, tt := range []struct {
		name  string
		patch Patch
		want  string // in the error
	}{
		{"none", Patch{}, ""},
		{"first", Patch{0, sector}, ""},
		{"last", Patch{size - sectorSize, sector}, ""},
		{"behind the last", Patch{size, sector}, "patch of 512 bytes at byte 4096 of an image of 4096"},
		{"over the end", Patch{size - sectorSize + 1, sector}, "patch of 512 bytes at byte 3585 of an image of 4096"},
		{"before the first", Patch{-sectorSize, sector}, "patch of 512 bytes at byte -512 of an image of 4096"},
		{"between", Patch{513, sector[1:]}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "x.img"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			_, hashErr := HashPatched(t.Context(), f, []Patch{tt.patch}, nil)
			for _, err := range []error{tt.patch.Apply(f), hashErr} {
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			}
			if n, err := fileSize(f); n != size || err != nil {
				t.Errorf("the file has %d bytes now, %v", n, err)
			}
		})
	}
}

func TestParseSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sum := Sum(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "sum"))
		if got, err := ParseSum(sum.String()); got != sum || err != nil {
			t.Errorf("ParseSum(%v) = %v, %v", sum, got, err)
		}
	})
	for _, s := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("0", 66), strings.Repeat("g", 64)} {
		if _, err := ParseSum(s); err == nil {
			t.Errorf("ParseSum(%q) is fine", s)
		}
	}
}

// TestSums has sha256sum check what Commit wrote, twice, beside a foreign line.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	old := "# ours\r\n" + strings.Repeat("0", 64) + " *a.img\n" + strings.Repeat("1", 64) + "  z.img"
	if err := os.WriteFile(filepath.Join(dir, SumsName), []byte(old), 0o666); err != nil {
		t.Fatal(err)
	}
	commitSums(t, dir, "one", "b.img", "a.img")
	commitSums(t, dir, "two", "c.img", "a.img")
	got := strings.Split(string(contents(t, filepath.Join(dir, SumsName))), "\n")
	want := []string{"# ours", "a.img", "b.img", "c.img", strings.Repeat("1", 64) + "  z.img", ""}
	for i, line := range got[:min(len(got), len(want))] {
		if !strings.HasSuffix(line, want[i]) {
			t.Errorf("line %d is %q, want one that ends in %q", i+1, line, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	run(t, dir, "sha256sum", "-c", "--ignore-missing", SumsName)
	if got := len(strings.Fields(run(t, dir, "ls", "-A"))); got != 4 {
		t.Errorf("%d files, want a, b, c and the sums", got)
	}
}

func commitSums(t *testing.T, dir, text string, names ...string) {
	out, err := Create(dir, Replace, names...)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Abort()
	out.Sums = map[string]Sum{}
	for _, f := range out.Files {
		f.WriteString(text)
		out.Sums[f.Final] = sha256.Sum256([]byte(text))
	}
	if err := out.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestMergeSums checks that merging twice is merging once.
func TestMergeSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := rapid.StringMatching(`([0-9a-f]{64} [ *][a-c]\r?\n|#\n|\n){0,5}`).Draw(t, "old")
		sums := map[string]Sum{}
		for _, name := range rapid.SliceOf(rapid.StringMatching(`[a-c]`)).Draw(t, "names") {
			sums[name] = Sum{1}
		}
		once := mergeSums(old, sums)
		if twice := mergeSums(once, sums); twice != once {
			t.Errorf("%q, then %q", once, twice)
		}
		for _, name := range slices.Sorted(maps.Keys(sums)) {
			if n := strings.Count(once, "  "+name+"\n") + strings.Count(once, " *"+name+"\n"); n != 1 {
				t.Errorf("%s is there %d times: %q", name, n, once)
			}
		}
	})
}
