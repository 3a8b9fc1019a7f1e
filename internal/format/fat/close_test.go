package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
)

// TestUntouched proves that nothing is written before Close, and nothing by it
// if nothing was changed.
func TestUntouched(t *testing.T) {
	image := formats[0].make(t)
	populate(t, image)
	old := readImage(t, image)
	fsys := open(t, image)
	if err := errors.Join(fsys.WriteFile("a", make([]byte, 9999), 0o755), fsys.Mkdir("b", 0o755), fsys.Remove("cmdline.txt")); err != nil {
		t.Fatal(err)
	}
	edit(t, image, func(*FS) error { return nil })
	if !bytes.Equal(readImage(t, image), old) {
		t.Error("the image has changed")
	}
}

// TestSummary proves that the information sector tells what fsck.fat checks and
// what it does not.
func TestSummary(t *testing.T) {
	image := formats[11].make(t)
	fsys := edit(t, image, func(fsys *FS) error { return fsys.WriteFile("a", make([]byte, 1000), 0o755) })
	first := fsys.root.find("a").cluster(fsys.table.geometry)
	if got, want := fsys.summary.Next, first+1; got != want || int(fsys.summary.Free) != describe(t, fsys).FreeClusters {
		t.Errorf("allocated last: got cluster %d, want %d", got, want)
	}
}

// TestWrongSummary proves that a number of free clusters that cannot be right is
// put right, and that fsck.fat takes it then.
func TestWrongSummary(t *testing.T) {
	for _, free := range []uint32{0, 1<<32 - 1, 2 * few32} {
		image := formats[11].make(t)
		fsys := open(t, image)
		fsys.summary.Free = free
		if err := fsys.summary.write(fsys.dev, fsys.table.geometry); err != nil {
			t.Fatal(err)
		}
		edit(t, image, func(fsys *FS) error { return fsys.WriteFile("a", make([]byte, 1000), 0o755) })
		fsck(t, image)
	}
}

// A meter counts the bytes that are read from a device.
type meter struct {
	Device
	read int
}

func (m *meter) ReadAt(p []byte, off int64) (int, error) {
	m.read += len(p)
	return m.Device.ReadAt(p, off)
}

// TestReadsPart proves that a small change on a large and empty file system reads a
// small part of its table.
func TestReadsPart(t *testing.T) {
	f, err := os.OpenFile(format{32, 1, 512, 1 << 20, 2}.make(t), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	device := &meter{Device: f}
	fsys, err := Open(device, info.Size())
	if err == nil {
		err = errors.Join(fsys.WriteFile("a", make([]byte, 1000), 0o755), fsys.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if most := 2 * tableBlock; device.read > most {
		t.Errorf("%d bytes were read, want at most %d: the table has %d", device.read, most, len(fsys.table.raw))
	}
	fsck(t, f.Name())
}

// TestReservedBits proves that the upper four bits of FAT32's entries survive
// when a cluster is allocated and freed.
func TestReservedBits(t *testing.T) {
	const entry = table32 + 4*20
	image := smallImage(t, 32).patched(at(entry+3, "\xf0"))
	for _, do := range []struct {
		edit func(fsys *FS) error
		want uint32
	}{
		{func(fsys *FS) error { return fsys.WriteFile("a", make([]byte, 20*sector), 0o755) }, 0xf0000000 | 21},
		{func(fsys *FS) error { return fsys.Remove("a") }, 0xf0000000},
	} {
		fsys, err := Open(image, int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(do.edit(fsys), fsys.Close()); err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint32(image[entry:]); got != do.want {
			t.Errorf("the entry is %#x, want %#x", got, do.want)
		}
	}
}

// TestMirrors has fsck.fat, which compares them, say that all FATs are written: also
// where the flags at 40 say that only the first is in use, as Linux does, which looks
// at none of them.
func TestMirrors(t *testing.T) {
	for _, flags := range []byte{0, 0x01, flagOneFAT} {
		image := flaggedImage(t, flags)
		again := edit(t, image, func(fsys *FS) error { return fsys.WriteFile("a", []byte("a"), 0o755) })
		if got := tree(t, again)["a"].content; got != "a" {
			t.Errorf("flags %#x: got %q, want a", flags, got)
		}
	}
}

// flaggedImage makes a FAT32 with flags at offset 40 of the boot sector and its backup.
func flaggedImage(t *testing.T, flags byte) string {
	t.Helper()
	image := formats[11].make(t)
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte{flags}, 40)
	_, wrong := file.WriteAt([]byte{flags}, 6*512+40)
	if err := errors.Join(err, wrong, file.Close()); err != nil {
		t.Fatal(err)
	}
	return image
}

// TestOrder proves that nothing is written before what it leads to.
func TestOrder(t *testing.T) {
	image := formats[11].make(t)
	populate(t, image)
	fsys := open(t, image)
	recorder := &recorder{Device: fsys.dev}
	fsys.dev = recorder
	err := errors.Join(fsys.Mkdir("a", 0o755), fsys.Mkdir("a/b", 0o755), fsys.WriteFile("a/b/c", []byte("c"), 0o755), fsys.Close())
	if err != nil {
		t.Fatal(err)
	}
	where := func(name string) int {
		extents, err := fsys.Extents(name)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Index(recorder.offsets, extents[0].Offset)
	}
	g := fsys.table.geometry
	fat := slices.IndexFunc(recorder.offsets, func(off int64) bool { return off >= g.fatStart && off < g.dataStart })
	order := []int{where("a/b/c"), fat, where("a/b"), where("a"), where(".")}
	if order[0] < 0 || !slices.IsSorted(order) {
		t.Errorf("content, FAT, a/b, a and the root are writes number %v", order)
	}
}

// A recorder notes where it was written.
type recorder struct {
	Device
	offsets []int64
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.offsets = append(r.offsets, off)
	return r.Device.WriteAt(p, off)
}
