package fat

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// TestOneSector proves that new content of a file's old size is a change of one
// sector, at the place that Extents tells.
func TestOneSector(t *testing.T) {
	for _, f := range []format{formats[0], formats[2], formats[10], formats[11], formats[13], formats[19]} {
		t.Run(f.String(), func(t *testing.T) {
			image := f.make(t)
			populate(t, image)
			line := []byte(strings.Repeat("x", 512))
			write := func(fsys *FS) error { return fsys.WriteFile("cmdline.txt", line, 0o755) }
			extents, err := edit(t, image, write).Extents("cmdline.txt")
			if err != nil || len(extents) != 1 {
				t.Fatalf("got %v, %v; want one extent", extents, err)
			}
			old := readImage(t, image)
			copy(line, "console=serial0,115200 init=/usr/sbin/reconfig-clusterctrl p7")
			edit(t, image, write)
			copy(old[extents[0].Offset:], line)
			if !bytes.Equal(readImage(t, image), old) {
				t.Error("more than the sector at the extent has changed")
			}
		})
	}
}

// TestPlaceIsKept proves that a file that grows and shrinks keeps its first
// cluster and its directory entry.
func TestPlaceIsKept(t *testing.T) {
	image := formats[13].make(t)
	populate(t, image)
	fsys := open(t, image)
	before := *fsys.root.find("config.txt")
	for _, size := range []int{5000, 1, 700, 40} {
		fsys = edit(t, image, func(fsys *FS) error { return fsys.WriteFile("CONFIG.txt", make([]byte, size), 0o755) })
		e := fsys.root.find("config.txt")
		if e.ClusterLow != before.ClusterLow || e.slot != before.slot || e.name != before.name || int(e.Size) != size {
			t.Errorf("at %d bytes: got %+v, want %+v but for the size", size, e, before)
		}
	}
}

func TestErrors(t *testing.T) {
	image := formats[11].make(t)
	populate(t, image)
	old := readImage(t, image)
	fsys := open(t, image)
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"write a directory", fsys.WriteFile("overlays", nil, 0), syscall.EISDIR},
		{"write the root", fsys.WriteFile(".", nil, 0), syscall.EISDIR},
		{"write below a file", fsys.WriteFile("cmdline.txt/x", nil, 0), syscall.ENOTDIR},
		{"write below nothing", fsys.WriteFile("nothing/x", nil, 0), fs.ErrNotExist},
		{"path", fsys.WriteFile("/x", nil, 0), fs.ErrInvalid},
		{"character", fsys.WriteFile("a:b", nil, 0), fs.ErrInvalid},
		{"control character", fsys.WriteFile("a\tb", nil, 0), fs.ErrInvalid},
		{"dot at the end", fsys.Mkdir("a.", 0), fs.ErrInvalid},
		{"blank at the end", fsys.Mkdir("a ", 0), fs.ErrInvalid},
		{"long name", fsys.Mkdir(strings.Repeat("😀", 128), 0), fs.ErrInvalid},
		{"make the root", fsys.Mkdir(".", 0), fs.ErrExist},
		{"make what is there", fsys.Mkdir("OVERLAYS", 0), fs.ErrExist},
		{"make what is there, by its alias", fsys.Mkdir("overlays/SOMERA~1.DTB", 0), fs.ErrExist},
		{"remove the root", fsys.Remove("."), fs.ErrInvalid},
		{"remove nothing", fsys.Remove("nothing"), fs.ErrNotExist},
		{"remove a full directory", fsys.Remove("overlays"), syscall.ENOTEMPTY},
		{"rename nothing", fsys.Rename("nothing", "a"), fs.ErrNotExist},
		{"rename the root", fsys.Rename(".", "a"), fs.ErrInvalid},
		{"rename to the root", fsys.Rename("cmdline.txt", "."), fs.ErrInvalid},
		{"rename into itself", fsys.Rename("overlays", "overlays/deep/a"), fs.ErrInvalid},
		{"rename to itself as a parent", fsys.Rename("overlays", "overlays/a"), fs.ErrInvalid},
		{"file over directory", fsys.Rename("cmdline.txt", "empty"), syscall.EISDIR},
		{"directory over file", fsys.Rename("empty", "cmdline.txt"), syscall.ENOTDIR},
		{"directory over directory", fsys.Rename("overlays", "empty"), fs.ErrExist},
		{"largest", checkSize(1<<32 - 1), nil},
		{"too large", checkSize(1 << 32), ErrTooLarge},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	if err := fsys.Close(); err != nil || !bytes.Equal(readImage(t, image), old) {
		t.Errorf("the image has changed, %v", err)
	}
}

// TestAttributes has mattrib say that WriteFile leaves the attributes as they are.
func TestAttributes(t *testing.T) {
	image := formats[0].make(t)
	populate(t, image)
	run(t, "mtools", "mattrib", "+s", "+h", "+r", "-i", image, "::/config.txt")
	edit(t, image, func(fsys *FS) error {
		return errors.Join(fsys.WriteFile("config.txt", []byte("new"), 0o755), fsys.WriteFile("cmdline.txt", []byte("new"), 0o755))
	})
	out := run(t, "mtools", "mattrib", "-i", image, "::/cmdline.txt", "::/config.txt")
	if got, want := strings.Join(strings.Fields(out), " "), "A ::/cmdline.txt A SHR ::/config.txt"; got != want {
		t.Errorf("mattrib shows %s, want %s", got, want)
	}
}
