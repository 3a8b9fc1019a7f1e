package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a device in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("write of %d bytes at %d of %d", len(p), off, len(m))
	}
	return copy(m[off:], p), nil
}

// smallLayouts are file systems of a few hundred KB with everything in them
// that can be wrong.
var smallLayouts = []layout{
	{name: "small plain", size: "600k", options: opt("-b", "1024", "-N", "128", "-O", "^has_journal,^metadata_csum,^uninit_bg,^resize_inode")},
	{name: "small gdt_csum", size: "900k", options: opt("-b", "1024", "-N", "128", "-g", "512", "-O", "^has_journal,^metadata_csum,uninit_bg,^flex_bg")},
	{name: "small csum", size: "600k", options: opt("-b", "1024", "-N", "128", "-O", "^has_journal,metadata_csum,^resize_inode")},
	{name: "small blockmap", size: "600k", options: opt("-b", "1024", "-N", "128", "-I", "128", "-O", "^has_journal,^metadata_csum,^extent,^64bit,^flex_bg,^resize_inode"), tune: opt("-O", "extents")},
}

// A victim is a small image and the parts of it that hold something.
type victim struct {
	image []byte
	parts []int // offsets of 32 bytes that are not all zeros
}

var victims = sync.OnceValues(func() (all []victim, err error) {
	for _, l := range smallLayouts {
		image := filepath.Join(scratch, strings.ReplaceAll(l.name, " ", "-"))
		l.make(panicker{}, image, smallTree(panicker{}))
		run(panicker{}, "debugfs", "-w", "-R", "ea_set /etc/cap user.small x", image)
		run(panicker{}, "debugfs", "-w", "-R", "ea_set /etc/cap user.large "+strings.Repeat("x", 500), image)
		e := openImage(panicker{}, image)
		for i := range 40 {
			if err := e.Symlink("x", fmt.Sprintf("many/%d-%s", i, strings.Repeat("m", 100))); err != nil {
				return nil, err
			}
		}
		for i := range 8 {
			if err := errors.Join(e.WriteFile(fmt.Sprintf("etc/%d", i), make([]byte, 1024), 0o644), e.WriteFile("etc/pieces", make([]byte, 1024*i), 0o644)); err != nil {
				return nil, err
			}
		}
		for i := range 8 {
			if err := e.Remove(fmt.Sprintf("etc/%d", i)); err != nil {
				return nil, err
			}
		}
		if err := e.WriteFile("etc/pieces", make([]byte, 30000), 0o644); err != nil {
			return nil, err
		}
		e.done(panicker{})
		data, err := os.ReadFile(image)
		if err != nil {
			return nil, err
		}
		v := victim{image: data}
		for off := 0; off+32 <= len(data); off += 32 {
			if strings.Trim(string(data[off:off+32]), "\x00") != "" {
				v.parts = append(v.parts, off)
			}
		}
		all = append(all, v)
	}
	return all, nil
})

type panicker struct{}

func (panicker) Helper()                           {}
func (panicker) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func smallTree(t fataler) string {
	dir, err := os.MkdirTemp(scratch, "tree")
	if err != nil {
		t.Fatalf("%v", err)
	}
	populateSmall(t, dir)
	return dir
}

// A patch of 5 bytes is where to change an image, 0xff00 being offset 0 of the
// superblock, and how: by a value, or in one bit.
const patchSize = 5

// patched applies patches to a victim.
func (v victim) patched(patches []byte) memory {
	m := memory(append([]byte(nil), v.image...))
	for ; len(patches) >= patchSize; patches = patches[patchSize:] {
		at := int(binary.LittleEndian.Uint16(patches))
		if at >= 0xfc00 {
			at = superblockOffset + at - 0xfc00
		} else {
			at = v.parts[at%len(v.parts)] + int(patches[2]%32)
		}
		switch width := patches[2] >> 6; width {
		case 0:
			m[at] = patches[3]
		case 1:
			m[at] ^= 1 << (patches[3] % 8)
		default:
			if at+4 <= len(m) {
				binary.LittleEndian.PutUint16(m[at:], binary.LittleEndian.Uint16(patches[3:]))
			}
		}
	}
	return m
}

// exercise does a bit of everything to a file system, and has check look at each
// error.
func exercise(f *FS, check func(error)) {
	seen := 0
	check(fs.WalkDir(f, ".", func(name string, e fs.DirEntry, err error) error {
		if seen++; seen > 500 {
			return fs.SkipAll
		}
		check(err)
		_, err = f.Xattrs(name)
		check(err)
		_, err = f.ReadFile(name)
		check(err)
		_, err = f.ReadLink(name)
		check(err)
		return nil
	}))
	for _, err := range f.FreeExtents() {
		check(err)
	}
	f.Info()
	f.SetTime(time.Unix(1.7e9, 0))
	for i := range 12 {
		check(f.WriteFile(fmt.Sprintf("many/new-%d-%s", i, strings.Repeat("m", 190)), []byte("new"), 0o644))
	}
	check(f.WriteFile("etc/pieces", make([]byte, 60000), 0o644))
	check(f.WriteFile("etc/large", []byte("small"), 0o644))
	check(f.Mkdir("etc/dir", 0o755))
	check(f.Symlink(strings.Repeat("x", 100), "etc/dir/link"))
	check(f.Chmod("etc", 0o700))
	for _, name := range []string{"etc/longlink", "etc/empty", "etc/hostname", "etc/dir/link", "etc/dir", "etc/same", "etc/large", "etc/holes", "etc/pieces"} {
		check(f.Remove(name))
	}
	check(f.Close())
}

// checkKnown fails if an error is of an unknown kind.
func checkKnown(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, known := range []error{ErrCorrupt, ErrNoSpace, errors.ErrUnsupported, fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, errLink} {
		if errors.Is(err, known) {
			return
		}
	}
	for _, known := range []string{"not a directory", "is a directory", "directory not empty", "file too large", "too many links", "too long"} {
		if strings.Contains(err.Error(), known) {
			return
		}
	}
	t.Errorf("unexpected error %v", err)
}

// broken holds patches of what most else depends on.
var broken = map[string]struct {
	victim  uint8
	patches string
}{
	"nothing":                     {0, ""},
	"block size of 4 KiB":         {0, "\x18\xfc\x80\x02\x00"},
	"block size of 2 to the 65":   {0, "\x18\xfc\x80\x37\x00"},
	"no blocks in a group":        {0, "\x20\xfc\x80\x00\x00"},
	"few blocks in a group":       {0, "\x20\xfc\x80\x00\x01\x24\xfc\x80\x00\x01"},
	"no inodes in a group":        {0, "\x28\xfc\x80\x00\x00"},
	"more inodes than groups":     {1, "\x28\xfc\x80\x00\x10\x00\xfc\x80\x00\x20"},
	"first data block 0":          {0, "\x14\xfc\x80\x00\x00"},
	"inode of 129 bytes":          {0, "\x58\xfc\x80\x81\x00"},
	"inode of 128 bytes":          {0, "\x58\xfc\x80\x80\x00"},
	"inode of 1 KiB":              {1, "\x58\xfc\x80\x00\x04"},
	"first inode 65535":           {0, "\x54\xfc\x80\xff\xff"},
	"descriptor of 0 bytes":       {1, "\xfe\xfc\x80\x00\x00"},
	"descriptor of 1 KiB":         {0, "\xfe\xfc\x80\x00\x04"},
	"all descriptors in meta_bg":  {0, "\x60\xfc\x80\x56\x02\x04\xfd\x80\x00\x00"},
	"meta_bg from far away":       {0, "\x60\xfc\x80\x56\x02\x04\xfd\x80\xff\xff"},
	"65535 reserved descriptors":  {0, "\xce\xfc\x80\xff\xff"},
	"unknown hash":                {0, "\xfc\xfc\x00\x09\x00"},
	"no filetype":                 {0, "\x60\xfc\x00\xc0\x00"},
	"checksums where none are":    {0, "\x64\xfc\x80\x00\x04"},
	"no index, but index nodes":   {0, "\x5c\xfc\x80\x08\x00"},
	"files without extents":       {0, "\x60\xfc\x80\x02\x00"},
	"write time before the epoch": {0, "\x2e\xfc\x80\xff\xff"},
}

// FuzzDamaged edits damaged file systems. It may fail in any way but to crash,
// to hang, or to eat all memory.
func FuzzDamaged(f *testing.F) {
	for _, b := range broken {
		f.Add(b.victim, []byte(b.patches))
	}
	for i := range smallLayouts {
		for off := range 80 {
			f.Add(uint8(i), []byte{byte(off * 3), 0xfc, 0, 0xff, 0})
			f.Add(uint8(i), []byte{byte(off * 5), byte(off >> 3), byte(off*7)&31 | 0x80, 0xff, 0xff})
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, patches []byte) {
		all, err := victims()
		if err != nil {
			t.Fatal(err)
		}
		m := all[int(n)%len(all)].patched(patches[:min(len(patches), 20*patchSize)])
		e, err := Open(m, int64(len(m)))
		if err != nil {
			for _, known := range []error{ErrCorrupt, errors.ErrUnsupported, ErrNeedsRecovery} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("unexpected error %v", err)
		}
		exercise(e, func(err error) { checkKnown(t, err) })
	})
}
