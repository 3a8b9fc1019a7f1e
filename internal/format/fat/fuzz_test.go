package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Where things are in the small images.
const (
	slot   = direntSize
	start  = slot - 6 // low word of the first cluster, counted from the slot
	size   = slot - 4
	sector = 512

	table16, root16, first16 = 512, 17920, 19968   // first16: cluster 2
	table32, root32, first32 = 16384, 18432, 18432 // the root is cluster 2
)

// smallImage has these clusters (one more on FAT32): 2 cmdline.txt, 3-5
// KERNEL.IMG, 6 sub, 7 sub/a long name.txt, 8 sub/deep. The slots of the root
// are: label, two of cmdline.txt, KERNEL.IMG, two of sub.
func smallImage(t tester, bits int) memory {
	kilobytes := map[int]string{16: "2200", 32: "100"}[bits]
	image := tempDir(t) + "/small.img"
	run(t, "dosfstools", "mkfs.fat", "-C", "-F", fmt.Sprint(bits), "-s", "1", "-r", "64", "-n", "BOOTFS", "-i", "c0ffee07", image, kilobytes)
	fsys := open(t, image)
	if err := errors.Join(fsys.WriteFile("cmdline.txt", []byte("quiet"), 0o755), fsys.WriteFile("KERNEL.IMG", make([]byte, 1500), 0o755),
		fsys.Mkdir("sub", 0o755), fsys.WriteFile("sub/a long name.txt", []byte("x"), 0o755), fsys.Mkdir("sub/deep", 0o755), fsys.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// A memory is a device in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("write of %d bytes at %d", len(p), off)
	}
	return copy(m[off:], p), nil
}

// patched is a copy with some bytes changed: a patch has the offset in two
// bytes, low one first, and the value in one.
func (m memory) patched(patches string) memory {
	m = bytes.Clone(m)
	for ; len(patches) >= 3; patches = patches[3:] {
		m[int(patches[0])|int(patches[1])<<8] = patches[2]
	}
	return m
}

// at patches content in from an offset on.
func at(offset int, content string) (patches string) {
	for i := range len(content) {
		patches += string([]byte{byte(offset + i), byte((offset + i) >> 8), content[i]})
	}
	return patches
}

// A damage is what was done to a small image.
type damage struct {
	bits  int
	patch string
	want  string // what Open says; empty if it can do with it
}

var damages = map[string]damage{
	"nothing, FAT16": {16, "", ""},
	"nothing, FAT32": {32, "", ""},

	"no signature":             {16, at(510, "\x00"), "no boot sector signature"},
	"sectors of 0":             {16, at(11, "\x00\x00"), "sectors of 0 bytes"},
	"sectors of 256":           {16, at(11, "\x00\x01"), "sectors of 256 bytes"},
	"sectors of 8192":          {16, at(11, "\x00\x20"), "sectors of 8192 bytes"},
	"sectors of 513":           {16, at(11, "\x01\x02"), "sectors of 513 bytes"},
	"clusters of 0":            {16, at(13, "\x00"), "clusters of 0 sectors"},
	"clusters of 3":            {16, at(13, "\x03"), "clusters of 3 sectors"},
	"no reserved sectors":      {16, at(14, "\x00\x00"), "no reserved sectors"},
	"no FAT":                   {16, at(16, "\x00"), "no file allocation table"},
	"root of half a sector":    {16, at(17, "\x48\x00"), "72 root entries"},
	"no root":                  {16, at(17, "\x00\x00"), "no room for a root directory"},
	"larger than the device":   {16, at(19, "\x31\x11"), "the file system is 2253312 bytes long"},
	"no sectors":               {32, at(19, "\x00\x00\x00"), "no room for clusters"},
	"FAT too short":            {16, at(22, "\x10\x00"), "a FAT of 8192 bytes for 4347 clusters, want 8704"},
	"FAT just large enough":    {16, at(19, "\x25\x11"), ""},
	"FAT just too short":       {16, at(19, "\x26\x11"), "a FAT of 8704 bytes for 4351 clusters, want 9216"},
	"FAT32 too short":          {32, at(36, "\x01"), "a FAT of 512 bytes"},
	"FAT over the end":         {32, at(36, "\x00\x00\x00\x80"), "no room for clusters"},
	"FAT12":                    {16, at(19, "\x00\x10"), "FAT12 (4057 clusters), want FAT16 or FAT32"},
	"version":                  {32, at(42, "\x01"), "FAT32 version 0x1, want 0"},
	"first FAT in use":         {32, at(40, "\x80"), ""},
	"second FAT in use":        {32, at(40, "\x81"), "FAT 2 of 2 alone is in use, want all or the first"}, // Linux goes by the first
	"root at 0":                {32, at(44, "\x00"), "the root directory starts at cluster 0"},
	"root over the end":        {32, at(44, "\x9e"), "the root directory starts at cluster 158"},
	"root free":                {32, at(44, "\x20"), "cluster chain 32 leads to cluster 32, which is not in use"},
	"information sector lost":  {32, at(48, "\x00"), ""},
	"information sector blank": {32, at(512, "\x00"), ""},
	"next free wild":           {32, at(1004, "\xff\xff\xff\xff"), ""},

	"chain leads to free":       {16, at(table16+2*3, "\x20\x00"), "KERNEL.IMG: corrupt file system: cluster chain 3 leads to cluster 32"},
	"chain leads to bad":        {16, at(table16+2*3, "\xf7\xff"), "leads to cluster 268435447"},
	"chain leads to 1":          {16, at(table16+2*3, "\x01\x00"), "leads to cluster 1,"},
	"chain leads over the end":  {16, at(table16+2*3, "\xfb\x10"), "leads to cluster 4347,"},
	"chain loops":               {16, at(table16+2*5, "\x03\x00"), "cluster 3 is used twice"},
	"chain loops at once":       {32, at(table32+4*4, "\x04"), "cluster 4 is used twice"},
	"chain too short":           {16, at(table16+2*4, "\xff\xff"), "1500 bytes in 2 clusters, want 3"},
	"chain too long":            {16, at(table16+2*5, "\x09\x00") + at(table16+2*9, "\xff\xff"), ""},
	"chain of nothing too long": {16, at(root16+2*slot+size, "\x00"), ""},
	"chains cross":              {16, at(table16+2*5, "\x02\x00"), "is used twice"},
	"reserved bits":             {32, at(table32+4*3+3, "\xff"), ""},

	"file at 0":             {16, at(root16+3*slot+start, "\x00\x00"), "cluster chain 0 leads to cluster 0"},
	"directory at 0":        {16, at(root16+5*slot+start, "\x00\x00"), "cluster chain 0 leads to cluster 0"},
	"directory is root":     {32, at(root32+5*slot+start, "\x02\x00"), "cluster 2 is used twice"},
	"directory is itself":   {16, at(first16+5*sector+slot*2+start, "\x06\x00"), ""},
	"file at end mark":      {16, at(root16+2*slot+start, "\xff\xff") + at(root16+2*slot+size, "\x00"), "cluster chain 65535"},
	"directory at end mark": {32, at(root32+5*slot+start, "\xff\xff") + at(root32+5*slot+20, "\xff\x0f"), "cluster chain 268435455"},
	"no .":                  {16, at(first16+4*sector, "\xe5"), "without . and .. at its start"},
	"no ..":                 {32, at(first32+5*sector+slot, "x"), "without . and .. at its start"},
	"size of 3 clusters":    {16, at(root16+3*slot+size, "\x00\x06\x00\x00"), ""},
	"size over 3 clusters": {16, at(root16+3*slot+size, "\x01\x06\x00\x00"),
		"1537 bytes in 3 clusters, want 4"},
	"largest size":        {16, at(root16+3*slot+size, "\xff\xff\xff\xff"), "4294967295 bytes in 3 clusters"},
	"high word, on FAT16": {16, at(root16+3*slot+20, "\x01\x00"), ""},
	"high word, on FAT32": {32, at(root32+3*slot+20, "\x01\x00"), "cluster chain 65540"},

	"name with a slash":        {16, at(root16+3*slot, "K/"), `directory entry 3 is called "K/RNEL.IMG"`},
	"name blank":               {16, at(root16+3*slot, "           "), `directory entry 3 is called ""`},
	"long name with a slash":   {16, at(root16+1*slot+1, "/"), ""},
	"long name is ..":          {16, at(root16+1*slot+1, ".\x00.\x00\x00\x00"), ""},
	"long name of another":     {16, at(root16+1*slot+13, "\x00"), ""},
	"long name order 0":        {16, at(root16+1*slot, "\x40"), ""},
	"long name order too high": {16, at(root16+1*slot, "\x55"), ""},
	"long name order missing":  {16, at(root16+1*slot, "\x42"), ""},
	"long name cut off":        {16, at(root16+2*slot, "\xe5"), ""},
	"half a surrogate":         {16, at(root16+1*slot+1, "\x00\xd8"), ""},
	"end mark early":           {16, at(root16+3*slot, "\x00"), ""},
	"garbage behind the end":   {16, at(root16+8*slot, "GARBAGE    "), ""},
	"date 0":                   {16, at(root16+3*slot+24, "\x00\x00"), ""},
}

// TestDamages holds each damage against what Open says, and whatever Open
// accepts against the invariants of the fuzz test.
func TestDamages(t *testing.T) {
	small := map[int]memory{16: smallImage(t, 16), 32: smallImage(t, 32)}
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			image := small[d.bits].patched(d.patch)
			old := bytes.Clone(image)
			_, err := Open(image, int64(len(image)))
			if d.want == "" {
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				checkEdits(t, image)
				return
			}
			if err == nil || !strings.Contains(err.Error(), d.want) {
				t.Errorf("got error %v, want %s", err, d.want)
			}
			if !bytes.Equal(image, old) {
				t.Error("the image has changed")
			}
		})
	}
}

// TestOpenSize opens an image that ends with its file system, and one that ends
// before.
func TestOpenSize(t *testing.T) {
	image := smallImage(t, 16)
	const end = 4384 * sector
	if _, err := Open(image[:end], end); err != nil {
		t.Error(err)
	}
	if _, err := Open(image, end-1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got error %v, want ErrCorrupt", err)
	}
}

func FuzzEdits(f *testing.F) {
	small := map[bool]memory{false: smallImage(f, 16), true: smallImage(f, 32)}
	for _, d := range damages {
		f.Add(d.bits == 32, d.patch)
	}
	f.Fuzz(func(t *testing.T, fat32 bool, patches string) {
		checkEdits(t, small[fat32].patched(patches))
	})
}

// checkEdits demands that an image is refused as corrupt, or can be edited: the
// edits are there when it is opened again, and all else is as before.
func checkEdits(t *testing.T, image memory) {
	fsys, err := Open(image, int64(len(image)))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v is neither ErrCorrupt nor ErrUnsupported", err)
		}
		return
	}
	before := tree(t, fsys)
	for _, name := range []string{"cmdline.txt", "kernel.img", "sub", "new directory", "new file"} {
		if e := fsys.root.find(name); e != nil {
			maps.DeleteFunc(before, func(other string, _ leaf) bool { return other == e.name || strings.HasPrefix(other, e.name+"/") })
		}
	}
	for _, err := range []error{
		fsys.WriteFile("cmdline.txt", []byte(strings.Repeat("long ", 300)), 0o755),
		fsys.WriteFile("kernel.img", nil, 0o755),
		fsys.Mkdir("new directory", 0o755),
		fsys.WriteFile("new directory/new file", []byte("new"), 0o755),
		fsys.Rename("sub", "new directory/sub"),
		fsys.Remove("cmdline.txt"),
		fsys.WriteFile("new file", []byte("new"), 0o755),
	} {
		if !expected(err) {
			t.Errorf("unexpected error: %v", err)
		}
	}
	want, free := tree(t, fsys), describe(t, fsys).FreeClusters
	if err := fsys.Close(); err != nil {
		t.Fatal(err)
	}
	if fsys, err = Open(image, int64(len(image))); err != nil {
		t.Fatalf("after the edits: %v", err)
	}
	after := tree(t, fsys)
	for name, l := range want {
		if after[name] != l {
			t.Errorf("%s is %+v, want %+v", name, after[name], l)
		}
	}
	if len(after) != len(want) || describe(t, fsys).FreeClusters != free {
		t.Errorf("%d files and %d clusters free, want %d and %d", len(after), describe(t, fsys).FreeClusters, len(want), free)
	}
	for name, l := range before {
		if after[name] != l {
			t.Errorf("%s is %+v, was %+v", name, after[name], l)
		}
	}
}

// expected says whether an edit of an image that holds other files than usual
// may end in err.
func expected(err error) bool {
	if err == nil {
		return true
	}
	for _, e := range []error{ErrNoSpace, fs.ErrNotExist, fs.ErrExist, syscall.EISDIR, syscall.ENOTDIR, fs.ErrInvalid} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
