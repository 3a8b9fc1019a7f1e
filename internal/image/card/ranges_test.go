package card

import (
	"bytes"
	"slices"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"pgregory.net/rapid"
)

// Where the sample has its partitions, in bytes.
const (
	sampleBoot = 4 << 20
	sampleRoot = 44 << 20
)

func unpackSample(t *testing.T) []byte {
	t.Helper()
	var p bytes.Buffer
	if _, err := xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict).WriteTo(&p); err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}

// TestUsed checks which parts of an image are left out: none of a file system that is not
// understood.
func TestUsed(t *testing.T) {
	image := unpackSample(t)
	size := int64(len(image))
	whole := Total(Used(memory{bytes.NewReader(image)}))
	if whole < 1<<20 || whole > size/3 {
		t.Errorf("%d of %d bytes are used: want some, and not many", whole, size)
	}
	for _, tt := range []struct {
		name   string
		offset int64
		p      string
		least  int64 // that must be used then
	}{
		{"no table", 510, "\x00\x00", size},
		{"GPT", 450, "\xee", size},
		{"another type of partition 2", 466, "\x82", size - sampleRoot},
		{"FAT that was not unmounted", sampleBoot + 0x41, "\x01", sampleRoot - sampleBoot},
		{"no FAT", sampleBoot + 510, "\x00", sampleRoot - sampleBoot},
		{"ext4 with errors", sampleRoot + 1024 + 58, "\x02", size - sampleRoot},
		{"ext4 with a journal to replay", sampleRoot + 1024 + 96, "\x46", size - sampleRoot},
	} {
		damaged := bytes.Clone(image)
		copy(damaged[tt.offset:], tt.p)
		if got := Total(Used(memory{bytes.NewReader(damaged)})); got < tt.least {
			t.Errorf("%s: %d bytes are used, want %d at least", tt.name, got, tt.least)
		}
	}
}

// TestRanges checks that all that is not free is in a range, and that ranges are in
// order, aligned and apart.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 1<<20 + 3*SectorSize
		var free []Range
		isFree := make([]bool, size/SectorSize)
		for start := int64(0); start < size; {
			start += SectorSize * rapid.Int64Range(1, 300).Draw(t, "used")
			end := min(size, start+SectorSize*rapid.Int64Range(1, 400).Draw(t, "free"))
			if start < end {
				free = append(free, Range{start, end})
				for n := start / SectorSize; n < end/SectorSize; n++ {
					isFree[n] = true
				}
			}
			start = end
		}
		ranges := used{size, slices.Clone(free)}.ranges()
		end := int64(-1)
		for _, r := range ranges {
			if r.Start%alignment != 0 || r.End%alignment != 0 && r.End != size || r.Start <= end || r.End <= r.Start || end >= 0 && r.Start-end <= smallGap {
				t.Fatalf("range %+v behind one that ends at %d", r, end)
			}
			end = r.End
		}
		for n, free := range isFree {
			in := slices.ContainsFunc(ranges, func(r Range) bool { return r.Start <= int64(n)*SectorSize && int64(n)*SectorSize < r.End })
			if !free && !in {
				t.Fatalf("sector %d is used and in no range", n)
			}
		}
	})
}

// TestReader has cards come and go.
func TestReader(t *testing.T) {
	old := Disk{Path: "/dev/sda", Size: 32e9, SectorSize: 512, Removable: true, sequence: 1}
	empty := Disk{Path: "/dev/sdb", SectorSize: 512, Removable: true, sequence: 2}
	small := Disk{Path: "/dev/sdb", Size: 1e9, SectorSize: 512, Removable: true, sequence: 3}
	good := Disk{Path: "/dev/sdb", Size: 32e9, SectorSize: 512, Removable: true, sequence: 4}
	mounted := good
	mounted.InUse = "is mounted at /media/bootfs"
	again := old
	again.sequence = 5
	var refused []string
	r := &Reader{Policy: Policy{MaxSize: 64e9}, Size: 4e9, known: []Disk{old, empty}, Refused: func(err error) { refused = append(refused, err.Error()) }}
	for n, step := range []struct {
		disks []Disk
		want  Disk
	}{
		{[]Disk{old, empty}, Disk{}},
		{[]Disk{old, small}, Disk{}},
		{[]Disk{old, small}, Disk{}},
		{[]Disk{old, mounted}, Disk{}},
		{[]Disk{old, good}, good},
		{[]Disk{empty}, Disk{}},
		{[]Disk{again, empty}, again},
	} {
		if got := r.take(step.disks); got != step.want {
			t.Errorf("step %d: %+v; want %+v", n, got, step.want)
		}
	}
	want := []string{
		"/dev/sdb: holds 1000000000 bytes, too few for the image of 4000000000",
		"/dev/sdb: is mounted at /media/bootfs: want a card that is not in use",
	}
	if !slices.Equal(refused, want) {
		t.Errorf("refused: %q; want %q", refused, want)
	}
	r.Skip(again)
	if got := r.take([]Disk{again}); got.Path != "" {
		t.Errorf("a card that was to be skipped: %+v", got)
	}
}
