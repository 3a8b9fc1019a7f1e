package packed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/diskimage"
)

// readers are programs that unpack a file of a format to their standard output.
var readers = map[Format]map[string][]string{
	XZ: {
		"xz":     {"xz", "-dc"},
		"xz -T2": {"xz", "-dc", "-T2"},
		"pixz":   {"sh", "-c", `pixz -d <"$0"`},
		"python": {"python3", "-c", "import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)"},
	},
	Zstd: {"zstd": {"zstd", "-dcq"}},
	Gzip: {
		"gzip":   {"gzip", "-dc"},
		"python": {"python3", "-c", "import gzip, shutil, sys; shutil.copyfileobj(gzip.open(sys.argv[1]), sys.stdout.buffer)"},
	},
}

func init() {
	for f, programs := range readers {
		programs["libarchive"] = []string{"bsdcat"}
		if f != Zstd { // which Debian's 7z cannot read
			programs["7z"] = []string{"7z", "x", "-so"}
		}
	}
}

// TestReaders has other programs unpack files before and after a patch: a sector
// within the image, the first and the last one.
func TestReaders(t *testing.T) {
	image := testImage(20 << 20)
	for name, sector := range map[string]int64{
		"within": 5<<20 + mbr.SectorSize,
		"first":  0,
		"last":   int64(len(image)) - mbr.SectorSize,
	} {
		for _, f := range Formats {
			t.Run(name+"/"+string(f), func(t *testing.T) {
				file, slot := pack(t, f, image, sector)
				wantUnpacked(t, f, file, image)
				other := bytes.Repeat([]byte("node p252 "), mbr.SectorSize)[:mbr.SectorSize]
				if err := patch(file, slot.Patch(other)); err != nil {
					t.Fatal(err)
				}
				want := slices.Clone(image)
				copy(want[sector:], other)
				wantUnpacked(t, f, file, want)
			})
		}
	}
}

// testImage returns bytes of which some can be compressed, some cannot, and many
// are zeros.
func testImage(size int) []byte {
	image := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(image[:size/8])
	for i := size / 8; i < size/4; i++ {
		image[i] = "clusterctrl"[i*i%11]
	}
	random.Read(image[size-9999:])
	return image
}

func pack(t *testing.T, f Format, image []byte, sector int64) (string, Slot) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.img"+f.Ext())
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var seen counted
	slot, err := f.Write(t.Context(), file, bytes.NewReader(image), int64(len(image)), sector, &seen)
	if err != nil {
		t.Fatal(err)
	}
	if int(seen) != len(image) {
		t.Errorf("progress of %d bytes, want %d", seen, len(image))
	}
	return name, slot
}

type counted int

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

func patch(name string, p diskimage.Patch) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(p.Apply(file), file.Close())
}

// wantUnpacked has all readers of a format unpack a file, and ours.
func wantUnpacked(t *testing.T, f Format, file string, want []byte) {
	t.Helper()
	for name, words := range readers[f] {
		cmd := exec.Command(words[0], append(words[1:], file)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, &stderr)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s unpacks %d bytes, others than the %d that were packed", name, len(got), len(want))
		}
	}
	in, err := diskimage.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "x.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := in.Decode(t.Context(), []*os.File{out}, diskimage.Sparse, nil); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("package diskimage unpacks %d bytes, others than the %d that were packed, %v", len(got), len(want), err)
	}
}

// TestSameBytes packs with one core and with four.
func TestSameBytes(t *testing.T) {
	image := testImage(40 << 20)
	for _, f := range []Format{Zstd, Gzip} {
		var files [2]bytes.Buffer
		for i, cores := range []int{1, 4} {
			before := runtime.GOMAXPROCS(cores)
			_, err := f.Write(t.Context(), &files[i], bytes.NewReader(image), int64(len(image)), 1<<20, nil)
			runtime.GOMAXPROCS(before)
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Errorf("%s: other bytes with four cores than with one", f)
		}
	}
}

// TestWriteFails fails at each side: no goroutine may be left waiting.
func TestWriteFails(t *testing.T) {
	image := testImage(40 << 20)
	size := int64(len(image))
	failed := errors.New("failed")
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(failed)
	for name, tt := range map[string]struct {
		ctx    context.Context
		w      io.Writer
		image  io.ReaderAt
		sector int64
		want   error
	}{
		"disk full":   {t.Context(), failing{failed}, bytes.NewReader(image), 0, failed},
		"short image": {t.Context(), io.Discard, bytes.NewReader(image[:size/2]), 0, io.EOF},
		"no sector":   {t.Context(), io.Discard, bytes.NewReader(image[:size/2]), size - mbr.SectorSize, io.EOF},
		"canceled":    {canceled, io.Discard, bytes.NewReader(image), 0, failed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Zstd.Write(tt.ctx, tt.w, tt.image, size, tt.sector, nil); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	for _, sector := range []int64{-1, size - mbr.SectorSize + 1} {
		if _, err := Zstd.Write(t.Context(), io.Discard, bytes.NewReader(image), size, sector, nil); err == nil {
			t.Errorf("a sector at %d of %d bytes: no error", sector, size)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestNames(t *testing.T) {
	for _, f := range Formats {
		if got, err := ParseFormat(string(f)); got != f || err != nil {
			t.Errorf("%s: parsed as %q, %v", f, got, err)
		}
	}
	for _, s := range []string{"", "XZ", ".xz", "zip"} {
		if f, err := ParseFormat(s); err == nil {
			t.Errorf("%q is format %q", s, f)
		}
	}
	if ext := Format("").Ext(); ext != "" {
		t.Errorf("the name of an image that is not compressed ends with %q", ext)
	}
}
