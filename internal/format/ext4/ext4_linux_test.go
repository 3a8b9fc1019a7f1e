package ext4

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRefused opens what must not be edited. Nothing may be written then.
func TestRefused(t *testing.T) {
	recovery, corrupt, unsupported := ErrNeedsRecovery, ErrCorrupt, errors.ErrUnsupported
	for _, tt := range []struct {
		name    string
		options string
		debugfs string
		want    error
		says    string
	}{
		{"journal to replay", "", "feature needs_recovery", recovery, "e2fsck"},
		{"orphan file in use", "orphan_file", "feature orphan_present", recovery, "e2fsck"},
		{"orphan list", "", "ssv last_orphan 12", recovery, "inode 12"},
		{"mounted", "", "ssv state 0", recovery, "e2fsck"},
		{"errors", "", "ssv state 3", corrupt, "errors"},
		{"bigalloc", "bigalloc", "", unsupported, "bigalloc"},
		{"inline_data", "inline_data", "", unsupported, "inline_data"},
		{"encrypt", "encrypt", "", unsupported, "encrypt"},
		{"casefold", "casefold", "", unsupported, "casefold"},
		{"ea_inode", "ea_inode", "", unsupported, "ea_inode"},
		{"mmp", "mmp", "", unsupported, "mmp"},
		{"quota", "quota", "", unsupported, "quota"},
		{"project", "project,quota", "", unsupported, "quota"},
		{"verity", "verity", "", unsupported, "verity"},
		{"unknown incompatible", "^metadata_csum", "feature FEATURE_I30", unsupported, "FEATURE_I30"},
		{"unknown read-only", "^metadata_csum", "feature FEATURE_R30", unsupported, "FEATURE_R30"},
		{"no blocks", "^metadata_csum", "ssv blocks_count 0", corrupt, "blocks"},
		{"beyond the end", "^metadata_csum", "ssv blocks_count 1000000", corrupt, "1000000"},
		{"no inodes", "^metadata_csum", "ssv inodes_per_group 0", corrupt, "inodes"},
		{"huge blocks", "^metadata_csum", "ssv log_block_size 40", unsupported, "block size"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image := filepath.Join(scratch, "refused")
			defer os.Remove(image)
			l := layout{size: "4M", options: opt("-b", "1024", "-O", "^resize_inode,"+tt.options), debugfs: tt.debugfs}
			l.make(t, image, "")
			data, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			before := sha256.Sum256(data)
			f, err := Open(memory(data), int64(len(data)))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Open() = %v, %v; want an error that wraps %q and says %q", f, err, tt.want, tt.says)
			}
			if sha256.Sum256(data) != before {
				t.Error("something was written")
			}
		})
	}
}

func TestTooSmall(t *testing.T) {
	for _, size := range []int{0, 1024, 2047, 2048} {
		if _, err := Open(memory(make([]byte, size)), int64(size)); err == nil {
			t.Errorf("Open(%d bytes of zeros) succeeded", size)
		}
	}
}

// TestUntouchedUntilClose also proves that the same changes give the same bytes.
func TestUntouchedUntilClose(t *testing.T) {
	image, err := os.ReadFile(layouts[0].template(t))
	if err != nil {
		t.Fatal(err)
	}
	var results [2]memory
	for i := range results {
		m := memory(slices.Clone(image))
		f, err := Open(m, int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			err = errors.Join(err, f.WriteFile(fmt.Sprintf("many/%d", i), bytes.Repeat([]byte{byte(i)}, 5000), 0o644))
		}
		if err := errors.Join(err, f.Mkdir("new", 0o755), f.Remove("etc/large")); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m, image) {
			t.Error("written before Close")
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		results[i] = m
	}
	if bytes.Equal(results[0], image) {
		t.Error("nothing was written by Close")
	}
	if !bytes.Equal(results[0], results[1]) {
		t.Error("the same changes gave different bytes")
	}
}

// TestReadOnlyWritesNothing proves that looking changes nothing.
func TestReadOnlyWritesNothing(t *testing.T) {
	image, err := os.ReadFile(layouts[0].template(t))
	if err != nil {
		t.Fatal(err)
	}
	m := memory(slices.Clone(image))
	f, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.ReadFile("etc/hostname")
	if err := errors.Join(err, f.Close()); err != nil || !bytes.Equal(m, image) {
		t.Errorf("error %v; changed: %v", err, !bytes.Equal(m, image))
	}
	if err := f.Close(); err == nil {
		t.Error("closed twice")
	}
	if err := f.Remove("etc/hostname"); err == nil {
		t.Error("changed after Close")
	}
}

// TestUndo proves that a change which fails half-way leaves nothing behind.
func TestUndo(t *testing.T) {
	l := layout{name: "undo", size: "2M", options: opt("-b", "1024", "-O", "^has_journal")}
	image := filepath.Join(scratch, "undo")
	l.make(t, image, "")
	e := openImage(t, image)
	e.SetTime(time.Unix(1.7e9, 0))
	if err := e.WriteFile("kept", []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	free := e.Info().FreeBlocks
	if err := e.WriteFile("kept", make([]byte, 4<<20), 0o644); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a file larger than the file system: %v", err)
	}
	if err := e.WriteFile("new", make([]byte, (free-1)*1024), 0o644); err != nil {
		t.Errorf("a file that fits: %v", err)
	}
	if err := e.Mkdir("dir", 0o755); err != nil {
		t.Errorf("a directory that fits: %v", err)
	}
	if err := e.Mkdir("another", 0o755); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a directory that does not fit: %v", err)
	}
	if _, err := e.Lstat("another"); err == nil {
		t.Error("there is half a directory")
	}
	if data, err := e.ReadFile("kept"); string(data) != "kept" {
		t.Errorf("%q, %v", data, err)
	}
	e.done(t)
	fsck(t, image)
}

// TestInfo compares with what dumpe2fs says, free blocks included.
func TestInfo(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			image := copyImage(t, l.template(t))
			defer os.Remove(image)
			e := openImage(t, image)
			if err := e.WriteFile("etc/hostname", make([]byte, 50000), 0o644); err != nil {
				t.Fatal(err)
			}
			info := e.Info()
			var free []string
			for x, err := range e.FreeExtents() {
				if err != nil {
					t.Fatal(err)
				}
				first, last := x.Offset/int64(info.BlockSize), (x.Offset+x.Length)/int64(info.BlockSize)-1
				free = append(free, fmt.Sprintf("%d-%d", first, last))
			}
			e.done(t)
			fields := dumpe2fs(t, image)
			for name, got := range map[string]string{
				"Filesystem volume name": info.Label, "Filesystem UUID": info.UUID,
				"Filesystem features": strings.Join(info.Features, " "),
				"Block size":          fmt.Sprint(info.BlockSize), "Block count": fmt.Sprint(info.Blocks),
				"Free blocks": fmt.Sprint(info.FreeBlocks), "Reserved block count": fmt.Sprint(info.ReservedBlocks),
				"Inode count": fmt.Sprint(info.Inodes), "Free inodes": fmt.Sprint(info.FreeInodes),
			} {
				if got != fields[name] {
					t.Errorf("%s is %q, want %q", name, got, fields[name])
				}
			}
			if want := freeBlocks(t, image); !slices.Equal(free, want) {
				t.Errorf("free blocks %v, want %v", free, want)
			}
		})
	}
}

// freeBlocks lists the ranges of free blocks that dumpe2fs prints.
func freeBlocks(t fataler, image string) (ranges []string) {
	for line := range strings.Lines(run(t, "dumpe2fs", image)) {
		list, ok := strings.CutPrefix(line, "  Free blocks: ")
		if !ok || strings.TrimSpace(list) == "" {
			continue
		}
		for r := range strings.SplitSeq(strings.TrimSpace(list), ", ") {
			if !strings.Contains(r, "-") {
				r += "-" + r
			}
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// dumpe2fs returns the fields that dumpe2fs prints of a superblock.
func dumpe2fs(t fataler, image string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(run(t, "dumpe2fs", "-h", image)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// TestFewExtents proves that a large file is laid out in one piece where there
// is room for it.
func TestFewExtents(t *testing.T) {
	for _, tt := range []struct{ blockSize, want int }{{1024, 3}, {4096, 1}} {
		image := filepath.Join(scratch, "extents")
		layout{size: "64M", options: opt("-b", fmt.Sprint(tt.blockSize))}.make(t, image, "")
		e := openImage(t, image)
		if err := e.WriteFile("large", make([]byte, 10<<20), 0o755); err != nil {
			t.Fatal(err)
		}
		ino, err := e.walk("large")
		if err != nil {
			t.Fatal(err)
		}
		if m, err := e.mapping(ino); err != nil || len(m.extents) > tt.want {
			t.Errorf("%d extents, want %d; %v", len(m.extents), tt.want, err)
		}
		e.done(t)
		fsck(t, image)
	}
}

// TestManyPieces puts a file into a file system where only single blocks are
// free, and another that takes more blocks than one extent can have.
func TestManyPieces(t *testing.T) {
	image := filepath.Join(scratch, "pieces")
	layout{size: "60M", options: opt("-b", "1024", "-N", "8000")}.make(t, image, "")
	defer os.Remove(image)
	e := openImage(t, image)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(e.Mkdir("d", 0o755))
	for i := range 4000 {
		must(e.WriteFile(fmt.Sprintf("d/%d", i), []byte("x"), 0o644))
	}
	large := bytes.Repeat([]byte("long "), 50<<20/5)
	must(e.WriteFile("long", large[:40<<20], 0o644))
	rest := e.Info().FreeBlocks
	must(e.WriteFile("rest", large[:(rest-8)*1024], 0o644))
	for i := range 2000 {
		must(e.Remove(fmt.Sprintf("d/%d", 2*i)))
	}
	must(e.WriteFile("pieces", large[:1900*1024], 0o644))
	ino, err := e.walk("pieces")
	must(err)
	if m, err := e.mapping(ino); err != nil || len(m.extents) < 1000 {
		t.Errorf("%d extents, want 1000; %v", len(m.extents), err)
	}
	if depth := ino.Block[6]; depth != 2 {
		t.Errorf("extent tree of depth %d, want 2", depth)
	}
	e.done(t)
	fsck(t, image)
	got := kernelTree(t, image)
	if got["pieces"].content != string(large[:1900*1024]) || got["long"].content != string(large[:40<<20]) {
		t.Error("content is not what was written")
	}
	e = openImage(t, image)
	must(e.Remove("pieces"))
	must(e.WriteFile("long", []byte("short"), 0o644))
	e.done(t)
	fsck(t, image)
}

// TestThroughLinks opens names that lead through links or files.
func TestThroughLinks(t *testing.T) {
	e := openImage(t, layouts[0].template(t))
	defer e.done(t)
	for name, want := range map[string]string{
		"etc/link/x":        "etc/link: is a symbolic link",
		"etc/link":          "is a symbolic link",
		"etc/hostname/x/y":  "etc/hostname: not a directory",
		"etc/none/x":        "file does not exist",
		"/etc":              "invalid argument",
		"etc/../etc/passwd": "invalid argument",
	} {
		if _, err := e.ReadFile(name); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("ReadFile(%q) = %v, want %q", name, err, want)
		}
	}
	if err := e.WriteFile("etc/link/x", nil, 0o644); err == nil || !strings.HasSuffix(err.Error(), "etc/link: is a symbolic link") {
		t.Errorf("WriteFile through a link: %v", err)
	}
}

// TestBlockMap reads the files of an ext3, which have no extents, and changes
// nothing there.
func TestBlockMap(t *testing.T) {
	dir := filepath.Join(scratch, "ext3tree")
	populate(t, dir)
	large := bytes.Repeat([]byte("0123456789abcdef"), 40000)
	if err := os.WriteFile(filepath.Join(dir, "large"), large, 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(scratch, "ext3")
	layout{size: "8M", options: opt("-b", "1024", "-O", "^extent,^64bit,^flex_bg,^metadata_csum")}.make(t, image, dir)
	e := openImage(t, image)
	defer e.done(t)
	if got, err := e.ReadFile("large"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(large))
	}
	if err := e.Remove("large"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Remove() = %v", err)
	}
}

// counter counts the bytes read from a device.
type counter struct {
	Device
	read int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.read += len(p)
	return c.Device.ReadAt(p, off)
}

// TestHuge edits a file system of 2 TB, of which it may read only little.
func TestHuge(t *testing.T) {
	image := filepath.Join(scratch, "huge")
	defer os.Remove(image)
	layout{size: "2T", options: opt("-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-i", "4194304")}.make(t, image, "")
	e := openImage(t, image)
	defer e.file.Close()
	c := &counter{Device: e.file}
	f, err := Open(c, 2<<40)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Mkdir("dir", 0o755), f.WriteFile("dir/file", make([]byte, 10<<20), 0o644), f.Close())
	if err != nil || c.read > 4<<20 {
		t.Errorf("read %d bytes, want less than 4 MiB; %v", c.read, err)
	}
	fsck(t, image)
}
