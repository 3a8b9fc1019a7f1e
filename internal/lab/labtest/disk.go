package labtest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"slices"

	"clusterctrl/internal/format/mbr"
)

// A Disk is a disk in memory whose power can fail. What it was told to hold is sure
// only when it was flushed: a power cut may lose any of the sectors written since.
type Disk struct {
	// Fault is asked before each operation, and the operation fails with its error.
	Fault func(operation string) error
	Worn  bool // the disk takes what is written, and forgets it

	base    []byte           // what it held at first
	sectors map[int64][]byte // what it holds now, by offset, where that was written
	unsafe  []int64          // sectors written since the last flush, oldest first
	before  map[int64][]byte // what these held
}

// NewDisk is a disk that holds base, which it does not change.
func NewDisk(base []byte) *Disk {
	return &Disk{base: base, sectors: map[int64][]byte{}, before: map[int64][]byte{}}
}

// Clone returns a disk with the same content, all of which is sure.
func (d *Disk) Clone() *Disk {
	c := NewDisk(d.base)
	maps.Copy(c.sectors, d.sectors)
	return c
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return int64(len(d.base)) }

// Sure reports whether all that was written was flushed.
func (d *Disk) Sure() bool { return len(d.unsafe) == 0 }

// Content is a copy of all that the disk holds.
func (d *Disk) Content() []byte {
	content := slices.Clone(d.base)
	for off, s := range d.sectors {
		copy(content[off:], s)
	}
	return content
}

func (d *Disk) ask(operation string, args ...any) error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault(fmt.Sprintf(operation, args...))
}

func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.Size() {
		return 0, io.EOF
	}
	n := copy(p, d.base[off:])
	for at := off / mbr.SectorSize * mbr.SectorSize; at < off+int64(n); at += mbr.SectorSize {
		if s, ok := d.sectors[at]; ok {
			if at < off {
				copy(p[:n], s[off-at:])
			} else {
				copy(p[at-off:n], s)
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes one sector.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if len(p) != mbr.SectorSize || off%mbr.SectorSize != 0 {
		panic("not a sector")
	}
	if err := d.ask("write sector %d", off/mbr.SectorSize); err != nil {
		return 0, err
	}
	if d.Worn {
		return len(p), nil
	}
	if _, ok := d.before[off]; !ok {
		old := make([]byte, mbr.SectorSize)
		if _, err := d.ReadAt(old, off); err != nil {
			return 0, err
		}
		d.before[off] = old
		d.unsafe = append(d.unsafe, off)
	}
	d.sectors[off] = bytes.Clone(p)
	return len(p), nil
}

// Sync flushes the disk.
func (d *Disk) Sync() error {
	if err := d.ask("flush"); err != nil {
		return err
	}
	d.unsafe, d.before = nil, map[int64][]byte{}
	return nil
}

// Cut cuts the power: each sector that was not flushed is lost, or is not.
func (d *Disk) Cut(random *rand.Rand) {
	for _, off := range d.unsafe {
		if random.Intn(2) == 0 {
			d.sectors[off] = d.before[off]
		}
	}
	d.unsafe, d.before = nil, map[int64][]byte{}
}
