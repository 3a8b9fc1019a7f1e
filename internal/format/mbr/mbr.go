// Package mbr reads and edits the partition table in the first sector of a
// disk. It knows the four primary partitions: it reports an extended partition as one of
// them, and does not look inside it.
//
// An edit rewrites the first sector and changes only the fields that it is about: boot
// code and foreign fields stay.
package mbr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// SectorSize is the unit in which a table counts.
	SectorSize = 512

	idOffset  = 440
	signature = 0xaa55

	active         = 0x80 // status of the partition to boot from
	typeProtective = 0xee // covers a GPT disk
)

var (
	// ErrNoTable says that the first sector holds no partition table.
	ErrNoTable = errors.New("no partition table, want an MBR")

	// ErrGPT says that the disk has a GUID partition table.
	ErrGPT = errors.New("the disk has a GUID partition table (GPT), want an MBR")
)

// A Device is a disk, or an image of one.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// A Table is the partition table of a disk.
type Table struct {
	ID         uint32 // the disk's id, which names its partitions
	Partitions [4]Partition
}

// A Partition is a range of bytes on a disk; an unused one has Size 0.
type Partition struct {
	Type        uint8
	Start, Size int64
}

func (p Partition) end() int64 { return p.Start + p.Size }

// PARTUUID is the name that Linux gives to partition n, counted from 1.
func (t Table) PARTUUID(n int) string { return fmt.Sprintf("%08x-%02d", t.ID, n) }

// A sector is the part of the first sector that is not boot code.
type sector struct {
	ID        uint32
	Protect   uint16 // 0x5a5a on a disk that asks not to be written
	Entries   [4]entry
	Signature uint16
}

type entry struct {
	Status      uint8
	FirstCHS    [3]byte // Linux ignores both CHS fields
	Type        uint8
	LastCHS     [3]byte
	First, Size uint32 // in sectors
}

func (e entry) partition() Partition {
	return Partition{e.Type, int64(e.First) * SectorSize, int64(e.Size) * SectorSize}
}

// Read reads the partition table of a disk of size bytes.
func Read(disk io.ReaderAt, size int64) (Table, error) {
	_, s, err := readSector(disk)
	if err != nil {
		return Table{}, err
	}
	t := s.table()
	if err := t.check(size); err != nil {
		return Table{}, err
	}
	return t, nil
}

// Grow makes partition n, counted from 1, extend over size bytes of a disk of
// diskSize bytes. It does not shrink one.
func Grow(disk Device, diskSize int64, n int, size int64) error {
	raw, s, err := readSector(disk)
	if err != nil {
		return err
	}
	t := s.table()
	if n < 1 || n > len(t.Partitions) || t.Partitions[n-1].Size == 0 {
		return fmt.Errorf("no partition %d", n)
	}
	if old := t.Partitions[n-1].Size; size < old || size%SectorSize != 0 {
		return fmt.Errorf("partition %d: %d bytes, want at least %d in sectors of %d", n, size, old, SectorSize)
	}
	if sectors := size / SectorSize; sectors > 1<<32-1 {
		return fmt.Errorf("partition %d: %d sectors, want less than 2^32", n, sectors)
	}
	t.Partitions[n-1].Size = size
	if err := t.check(diskSize); err != nil {
		return err
	}
	e := &s.Entries[n-1]
	e.Size = uint32(size / SectorSize)
	e.LastCHS = chs(t.Partitions[n-1].end()/SectorSize - 1)
	return writeSector(disk, raw, s)
}

// Set makes the partitions of a disk of diskSize bytes what is wanted. What was in one
// that moves stays where it was.
func Set(disk Device, diskSize int64, wanted [4]Partition) error {
	raw, s, err := readSector(disk)
	if err != nil {
		return err
	}
	for i, p := range wanted {
		if p == s.table().Partitions[i] {
			continue
		}
		if p.Start%SectorSize != 0 || p.Size%SectorSize != 0 || p.end()/SectorSize > 1<<32-1 {
			return fmt.Errorf("partition %d: %d bytes at %d: want whole sectors of %d, below the 2^32nd", i+1, p.Size, p.Start, SectorSize)
		}
		first, size := p.Start/SectorSize, p.Size/SectorSize
		if size == 0 {
			s.Entries[i] = entry{}
			continue
		}
		s.Entries[i] = entry{
			Status: s.Entries[i].Status, Type: p.Type, First: uint32(first), Size: uint32(size),
			FirstCHS: chs(first), LastCHS: chs(first + size - 1),
		}
	}
	if err := s.table().check(diskSize); err != nil {
		return err
	}
	return writeSector(disk, raw, s)
}

// readSector returns the first sector both as it is and decoded.
func readSector(disk io.ReaderAt) ([]byte, sector, error) {
	raw := make([]byte, SectorSize)
	n, err := disk.ReadAt(raw, 0)
	if n < len(raw) && err == io.EOF {
		return nil, sector{}, ErrNoTable
	}
	if n < len(raw) {
		return nil, sector{}, fmt.Errorf("partition table: %w", err)
	}
	var s sector
	if _, err := binary.Decode(raw[idOffset:], binary.LittleEndian, &s); err != nil {
		return nil, sector{}, fmt.Errorf("partition table: %w", err)
	}
	if s.Signature != signature {
		return nil, sector{}, ErrNoTable
	}
	for _, e := range s.Entries {
		if e.Status&^active != 0 { // the boot sector of a file system has the same signature
			return nil, sector{}, ErrNoTable
		}
	}
	for _, e := range s.Entries {
		if e.Type == typeProtective {
			return nil, sector{}, ErrGPT
		}
	}
	return raw, s, nil
}

func writeSector(disk Device, raw []byte, s sector) error {
	if _, err := binary.Encode(raw[idOffset:], binary.LittleEndian, s); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if _, err := disk.WriteAt(raw, 0); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	return nil
}

func (s sector) table() Table {
	t := Table{ID: s.ID}
	for i, e := range s.Entries {
		if e.Size != 0 {
			t.Partitions[i] = e.partition()
		}
	}
	return t
}

// check says whether the partitions lie on a disk of size bytes, behind the
// table and apart from each other.
func (t Table) check(size int64) error {
	for i, p := range t.Partitions {
		if p.Size == 0 {
			continue
		}
		if p.Start < SectorSize {
			return fmt.Errorf("partition %d lies over the partition table", i+1)
		}
		if p.end() > size {
			return fmt.Errorf("it is cut short: partition %d ends at %s, and there are %s", i+1, amount(p.end()), amount(size))
		}
		for j, q := range t.Partitions[:i] {
			if q.Size != 0 && p.Start < q.end() && q.Start < p.end() {
				return fmt.Errorf("partitions %d and %d overlap", j+1, i+1)
			}
		}
	}
	return nil
}

// amount writes a number of bytes for people: in MiB where that is exact.
func amount(bytes int64) string {
	const mib = 1 << 20
	if bytes%mib != 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%d MiB", bytes/mib)
}

// chs packs the address of a sector on the disk of 255 heads and 63 sectors a
// track that every system assumes today. An address beyond cylinder 1023 is
// written as the last one there is.
func chs(sector int64) [3]byte {
	const heads, perTrack, cylinders = 255, 63, 1024
	sector = min(sector, heads*perTrack*cylinders-1)
	cylinder, head, n := sector/(heads*perTrack), sector/perTrack%heads, sector%perTrack+1
	return [3]byte{byte(head), byte(cylinder>>8<<6 | n), byte(cylinder)}
}
