package mbr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	MiB = 1 << 20
	GiB = 1 << 30
)

func TestSectorSize(t *testing.T) {
	if got, want := binary.Size(sector{}), SectorSize-idOffset; got != want {
		t.Errorf("id and table are %d bytes, want %d", got, want)
	}
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry entry
		want  Partition // zero if the table must be refused
	}{
		{"boot", entry{Type: 0x0c, First: 8192, Size: 1048576}, Partition{0x0c, 4 * MiB, GiB / 2}},
		{"active", entry{Status: 0x80, Type: 0x0c, First: 1, Size: 1}, Partition{0x0c, 512, 512}},
		{"extended", entry{Type: 0x05, First: 2, Size: 1}, Partition{0x05, 1024, 512}},
		{"past 4 GiB", entry{Type: 0x83, First: 16 << 20, Size: 2048}, Partition{0x83, 8 * GiB, MiB}},
		{"over 4 GiB", entry{Type: 0x83, First: 1, Size: 16 << 20}, Partition{0x83, 512, 8 * GiB}},
		{"to the end", entry{First: 32<<20 - 1, Size: 1}, Partition{0, 16*GiB - 512, 512}},
		{"over the end", entry{First: 32<<20 - 1, Size: 2}, Partition{}},
		{"over the table", entry{First: 0, Size: 2}, Partition{}},
		{"largest", entry{First: 1<<32 - 1, Size: 1<<32 - 1}, Partition{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table, err := Read(disk(tt.entry), 16*GiB)
			if table.Partitions[0] != tt.want || (err == nil) != (tt.want != Partition{}) {
				t.Errorf("Read() = %+v, %v; want %+v", table.Partitions[0], err, tt.want)
			}
		})
	}
}

func TestReadOverlap(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second entry
		want          string
	}{
		{"apart", entry{First: 8, Size: 8}, entry{First: 16, Size: 8}, ""},
		{"apart, the other way round", entry{First: 16, Size: 8}, entry{First: 8, Size: 8}, ""},
		{"by a sector", entry{First: 8, Size: 9}, entry{First: 16, Size: 8}, "partitions 1 and 2 overlap"},
		{"one inside", entry{First: 8, Size: 80}, entry{First: 16, Size: 8}, "partitions 1 and 2 overlap"},
		{"an unused one", entry{First: 8, Size: 80}, entry{First: 16}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(disk(tt.first, tt.second), MiB); text(err) != tt.want {
				t.Errorf("got error %q, want %q", text(err), tt.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	noSignature := disk(entry{Type: 0x0c, First: 1, Size: 1})
	noSignature[510] = 0
	for _, tt := range []struct {
		name string
		disk image
		want error
	}{
		{"empty", make(image, SectorSize), ErrNoTable},
		{"no signature", noSignature, ErrNoTable},
		{"boot sector of a file system", disk(entry{Status: 'F', Type: 0x0c, First: 1, Size: 1}), ErrNoTable},
		{"GPT", disk(entry{Type: 0xee, First: 1, Size: 1<<32 - 1}), ErrGPT},
		{"hybrid of GPT and MBR", disk(entry{Type: 0x0c, First: 1, Size: 1}, entry{Type: 0xee, First: 2, Size: 1}), ErrGPT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(tt.disk, MiB); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := Read(make(image, 511), 511); err == nil {
		t.Error("half a sector was read as a table")
	}
}

func TestPARTUUID(t *testing.T) {
	if got := (Table{ID: 0xabc1234}).PARTUUID(2); got != "0abc1234-02" {
		t.Errorf("got %s, want 0abc1234-02", got)
	}
}

func TestGrow(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		size int64
		want string
	}{
		{"to the end", 2, 16*MiB - 8192*512, ""},
		{"not at all", 2, 4 * MiB, ""},
		{"over the end", 2, 16*MiB - 8191*512, "it is cut short: partition 2 ends at 16777728 bytes, and there are 16 MiB"},
		{"into the next", 1, 4*MiB - 512, "partitions 1 and 2 overlap"},
		{"up to the next", 1, 4*MiB - 1024, ""},
		{"smaller", 2, 4*MiB - 512, "partition 2: 4193792 bytes, want at least 4194304 in sectors of 512"},
		{"part of a sector", 2, 4*MiB + 1, "partition 2: 4194305 bytes, want at least 4194304 in sectors of 512"},
		{"beyond 32 bits", 2, 1 << 41, "partition 2: 4294967296 sectors, want less than 2^32"},
		{"unused", 3, MiB, "no partition 3"},
		{"none", 0, MiB, "no partition 0"},
		{"fifth", 5, MiB, "no partition 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := disk(entry{Type: 0x0c, First: 2, Size: 8}, entry{Type: 0x83, First: 8192, Size: 8192})
			old := bytes.Clone(d)
			if err := Grow(d, 16*MiB, tt.n, tt.size); text(err) != tt.want {
				t.Fatalf("got error %q, want %q", text(err), tt.want)
			}
			if tt.want != "" {
				if !bytes.Equal(d, old) {
					t.Error("a refused change was made")
				}
				return
			}
			table, err := Read(d, 16*MiB)
			if err != nil || table.Partitions[tt.n-1].Size != tt.size {
				t.Errorf("got %+v, %v; want %d bytes", table.Partitions[tt.n-1], err, tt.size)
			}
		})
	}
}

func TestSet(t *testing.T) {
	boot, root := Partition{0x0c, 1024, 4096}, Partition{0x83, 4 * MiB, 4 * MiB}
	between, moved := Partition{0xda, 4 * MiB, 2 * MiB}, Partition{0x83, 6 * MiB, 4 * MiB}
	for _, tt := range []struct {
		name   string
		wanted [4]Partition
		want   string
	}{
		{"as it is", [4]Partition{boot, root}, ""},
		{"one between two", [4]Partition{boot, moved, between}, ""},
		{"none", [4]Partition{}, ""},
		{"over another", [4]Partition{boot, root, between}, "partitions 2 and 3 overlap"},
		{"over the end", [4]Partition{boot, {0x83, 14 * MiB, 4 * MiB}}, "it is cut short: partition 2 ends at 18 MiB, and there are 16 MiB"},
		{"part of a sector", [4]Partition{boot, {0x83, 4 * MiB, 100}}, "partition 2: 100 bytes at 4194304: want whole sectors of 512, below the 2^32nd"},
		{"beyond 32 bits", [4]Partition{boot, {0x83, 2 << 40, MiB}}, "partition 2: 1048576 bytes at 2199023255552: want whole sectors of 512, below the 2^32nd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := disk(entry{Status: 0x80, Type: 0x0c, First: 2, Size: 8}, entry{Type: 0x83, First: 8192, Size: 8192})
			old := bytes.Clone(d)
			if err := Set(d, 16*MiB, tt.wanted); text(err) != tt.want {
				t.Fatalf("got error %q, want %q", text(err), tt.want)
			}
			if tt.want != "" {
				if !bytes.Equal(d, old) {
					t.Error("a refused change was made")
				}
				return
			}
			if table, err := Read(d, 16*MiB); err != nil || table.Partitions != tt.wanted {
				t.Errorf("got %+v, %v; want %+v", table.Partitions, err, tt.wanted)
			}
			if !bytes.Equal(d[:446], old[:446]) || tt.wanted[0] == boot && d[446] != 0x80 {
				t.Error("boot code, id or the status of partition 1 changed")
			}
		})
	}
}

func TestCHS(t *testing.T) {
	for _, tt := range []struct {
		sector int64
		want   [3]byte
	}{
		{0, [3]byte{0, 1, 0}},
		{62, [3]byte{0, 63, 0}},
		{63, [3]byte{1, 1, 0}},
		{255 * 63, [3]byte{0, 1, 1}},
		{255 * 63 * 256, [3]byte{0, 0x41, 0}},
		{255*63*1024 - 1, [3]byte{254, 0xff, 0xff}},
		{255 * 63 * 1024, [3]byte{254, 0xff, 0xff}},
		{1<<32 - 1, [3]byte{254, 0xff, 0xff}},
	} {
		if got := chs(tt.sector); got != tt.want {
			t.Errorf("sector %d is %x, want %x", tt.sector, got, tt.want)
		}
	}
}

// TestOtherBytes proves that an edit changes its own fields and no others,
// whatever the sector holds.
func TestOtherBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := image(rapid.SliceOfN(rapid.Byte(), SectorSize, SectorSize).Draw(t, "sector"))
		own := disk(entry{Type: 0x0c, First: 2, Size: 8}, entry{Type: 0x83, First: 64, Size: 8})
		copy(d[446:], own[446:])
		want := bytes.Clone(d)
		if err := Grow(d, MiB, 2, 16*512); err != nil {
			t.Fatal(err)
		}
		want[462+12] = 16                                // sectors
		want[462+5], want[462+6], want[462+7] = 1, 17, 0 // CHS of sector 79
		if !bytes.Equal(d, want) {
			t.Fatalf("got\n%x\nwant\n%x", d, want)
		}
	})
}

// TestSfdisk has sfdisk make a table and read the one that was changed.
func TestSfdisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk.img")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const size = 64 * MiB
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	sfdisk(t, "label: dos\nlabel-id: 0x12345678\nstart=8192, size=8192, type=c\nstart=16384, size=8192, type=83\n", name)
	table, err := Read(file, size)
	want := Table{0x12345678, [4]Partition{{0x0c, 4 * MiB, 4 * MiB}, {0x83, 8 * MiB, 4 * MiB}}}
	if err != nil || table != want {
		t.Fatalf("got %+v, %v; want %+v", table, err, want)
	}
	if err := Grow(file, size, 2, size-8*MiB); err != nil {
		t.Fatal(err)
	}
	dump := sfdisk(t, "", "--dump", name)
	for _, line := range []string{
		"label-id: 0x12345678\n", "img1 : start=        8192, size=        8192, type=c\n",
		"img2 : start=       16384, size=      114688, type=83\n",
	} {
		if !strings.Contains(dump, line) {
			t.Errorf("sfdisk shows\n%swant %s", dump, line)
		}
	}
	if out := sfdisk(t, "", "--verify", name); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
}

func sfdisk(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sfdisk", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Fatalf("%v: install the Debian package fdisk", err)
	}
	if err != nil {
		t.Fatalf("sfdisk %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(disk(entry{First: 1, Size: 7})), int64(4096))
	f.Add([]byte(disk(entry{First: 1<<32 - 1, Size: 1<<32 - 1})), int64(512))
	f.Add([]byte(disk(entry{First: 8, Size: 9}, entry{First: 16, Size: 8})), int64(MiB))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, sector []byte, size int64) {
		d := image(sector)
		table, err := Read(d, size)
		if err != nil {
			return
		}
		last := 0
		for i, p := range table.Partitions {
			if p.Start < 0 || p.Size < 0 || p.Start+p.Size > size {
				t.Errorf("%+v is not on a disk of %d bytes", p, size)
			}
			if p.Size != 0 {
				last = i + 1
			}
		}
		if last == 0 {
			return
		}
		want := table
		want.Partitions[last-1].Size += 512
		if err := Grow(d, size, last, want.Partitions[last-1].Size); err != nil {
			want = table
		}
		if got, err := Read(d, size); err != nil || got != want {
			t.Errorf("after growth %+v, %v; want %+v", got, err, want)
		}
	})
}

// An image is a disk in memory.
type image []byte

func (m image) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m image) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("write of %d bytes at %d", len(p), off)
	}
	return copy(m[off:], p), nil
}

// disk returns the first sector of a disk with some partitions.
func disk(entries ...entry) image {
	s := sector{Signature: signature}
	copy(s.Entries[:], entries)
	d := make(image, SectorSize)
	binary.Encode(d[idOffset:], binary.LittleEndian, s)
	return d
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
