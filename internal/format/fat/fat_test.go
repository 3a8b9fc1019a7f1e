package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var may = time.Date(2025, 5, 13, 12, 30, 58, 0, time.UTC)

func TestRecordSizes(t *testing.T) {
	for _, tt := range []struct {
		record any
		want   int
	}{{bootSector{}, 36}, {boot32{}, 28}, {bootTail{}, 26}, {dirent{}, direntSize}, {longSlot{}, direntSize}, {summary{}, 512}} {
		if got := binary.Size(tt.record); got != tt.want {
			t.Errorf("%T is %d bytes, want %d", tt.record, got, tt.want)
		}
	}
}

// TestRead holds what we see of images that mtools made against what mtools
// sees.
func TestRead(t *testing.T) {
	for _, f := range formats {
		t.Run(f.String(), func(t *testing.T) {
			image := f.make(t)
			populate(t, image)
			fsys := open(t, image)
			if diff := cmp.Diff(mtoolsTree(t, image), tree(t, fsys), cmp.AllowUnexported(leaf{})); diff != "" {
				t.Errorf("mtools sees -, we see +:\n%s", diff)
			}
			if err := fstest.TestFS(fsys, "cmdline.txt", "overlays/deep/x", "Grüße 漢字.txt"); err != nil {
				t.Error(err)
			}
			used, clusters := fsck(t, image)
			want := Info{fmt.Sprintf("FAT%d", f.bits), "BOOTFS", 0xc0ffee07, f.sectorSize, f.sectorSize * f.perCluster, clusters, clusters - used, false}
			if got := describe(t, fsys); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// edit opens an image, does something to it, closes it, has fsck.fat look at
// it, and returns it opened again.
func edit(t *testing.T, image string, do func(fsys *FS) error) *FS {
	t.Helper()
	fsys := open(t, image)
	fsys.SetTime(may)
	if err := errors.Join(do(fsys), fsys.Close()); err != nil {
		t.Fatal(err)
	}
	fsck(t, image)
	return open(t, image)
}

func readImage(t *testing.T, image string) []byte {
	t.Helper()
	const enough = 16 << 20 // the rest of large images is a hole
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content := make([]byte, enough)
	n, _ := file.ReadAt(content, 0)
	return content[:n]
}

// TestSameBytes proves that the same edits make the same image.
func TestSameBytes(t *testing.T) {
	image := formats[11].make(t)
	populate(t, image)
	other := copyImage(t, image)
	for _, image := range []string{image, other} {
		edit(t, image, func(fsys *FS) error {
			return errors.Join(fsys.Mkdir("a", 0o755), fsys.WriteFile("a/file with a long name", make([]byte, 7000), 0o755),
				fsys.Remove("cmdline.txt"), fsys.Rename("overlays/deep", "a/deep"))
		})
	}
	if !bytes.Equal(readImage(t, image), readImage(t, other)) {
		t.Error("the images differ")
	}
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct{ time, want time.Time }{
		{may, may},
		{may.Add(time.Second), may},
		{may.In(time.FixedZone("", 7200)), may},
		{time.Time{}, firstDay},
		{lastDay.Add(time.Hour), lastDay.Add(-time.Second)},
	} {
		var d dirent
		d.created(newStamp(tt.time))
		if got := d.modTime(); !got.Equal(tt.want) {
			t.Errorf("%v: got %v, want %v", tt.time, got, tt.want)
		}
	}
}

// TestDirty proves that each of the dirty flags is reported and survives an
// edit.
func TestDirty(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bits  int
		patch string
	}{
		{"boot sector, FAT16", 16, at(0x25, "\x01")},
		{"boot sector, FAT32", 32, at(0x41, "\x01")},
		{"not unmounted, FAT16", 16, at(table16+2, "\xff\x7f")},
		{"I/O error, FAT16", 16, at(table16+2, "\xff\xbf")},
		{"not unmounted, FAT32", 32, at(table32+7, "\xf7")},
		{"I/O error, FAT32", 32, at(table32+7, "\xfb")},
	} {
		image := smallImage(t, tt.bits).patched(tt.patch)
		for range 2 {
			fsys, err := Open(image, int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			if !describe(t, fsys).Dirty {
				t.Errorf("%s: the dirty flag is not there", tt.name)
			}
			if err := errors.Join(fsys.WriteFile("a", []byte("a"), 0o755), fsys.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSmallFAT32 opens a FAT32 with fewer clusters than a FAT16 has, which
// Linux takes, and so do we.
func TestSmallFAT32(t *testing.T) {
	image := filepath.Join(tempDir(t), "small.img")
	run(t, "dosfstools", "mkfs.fat", "-C", "-F", "32", "-s", "1", image, "100")
	fsys := open(t, image)
	if err := errors.Join(fsys.WriteFile("a", []byte("a"), 0o755), fsys.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, "dosfstools", "fsck.fat", "-n", image)
	if i := describe(t, open(t, image)); i.Type != "FAT32" {
		t.Errorf("got %s, want FAT32", i.Type)
	}
}
