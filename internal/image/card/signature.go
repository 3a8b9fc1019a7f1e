package card

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"clusterctrl/internal/format/mbr"
)

// A signature tells what a disk or a partition holds by bytes at a fixed place.
type signature struct {
	kind   string
	offset func(size int64) int64 // of the first byte
	magic  string
	// label is where a name of so many bytes is, from the first byte on; none if
	// its length is 0.
	label, labelSize int64
}

func at(offset int64) func(int64) int64 { return func(int64) int64 { return offset } }

// fromEnd is so many bytes before the end, rounded down to a multiple of unit.
func fromEnd(n, unit int64) func(int64) int64 {
	return func(size int64) int64 { return (size - n) / unit * unit }
}

// members are the signatures of disks whose data makes sense only together with other
// disks, or through another driver.
var members = []signature{
	{kind: "LVM", offset: at(0x218), magic: "LVM2 001"}, // lib/format_text/layout.h, in the second sector as a rule
	{kind: "LVM", offset: at(0x018), magic: "LVM2 001"},
	{kind: "LVM", offset: at(0x418), magic: "LVM2 001"},
	{kind: "LVM", offset: at(0x618), magic: "LVM2 001"},
	{kind: "RAID", offset: at(4096), magic: "\xfc\x4e\x2b\xa9"}, // versions 1.2, 1.1, 1.0, 0.90 of md's superblock
	{kind: "RAID", offset: at(0), magic: "\xfc\x4e\x2b\xa9"},
	{kind: "RAID", offset: fromEnd(8<<10, 4<<10), magic: "\xfc\x4e\x2b\xa9"},
	{kind: "RAID", offset: func(size int64) int64 { return size/(64<<10)*(64<<10) - 64<<10 }, magic: "\xfc\x4e\x2b\xa9"},
	{kind: "RAID", offset: fromEnd(1024, 512), magic: "Intel Raid ISM Cfg Sig. "},
	{kind: "RAID", offset: fromEnd(512, 512), magic: "\xde\x11\xde\x11"}, // DDF, big-endian
}

// systems are the signatures of file systems, in partitions or on whole disks.
var systems = []signature{
	{kind: "ext", offset: at(0x438), magic: "\x53\xef", label: 0x478, labelSize: 16},
	{kind: "FAT", offset: at(0x52), magic: "FAT32   ", label: 0x47, labelSize: 11},
	{kind: "FAT", offset: at(0x36), magic: "FAT1", label: 0x2b, labelSize: 11},
	{kind: "exFAT", offset: at(3), magic: "EXFAT   "},
	{kind: "NTFS", offset: at(3), magic: "NTFS    "},
	{kind: "XFS", offset: at(0), magic: "XFSB", label: 0x6c, labelSize: 12},
	{kind: "btrfs", offset: at(0x10040), magic: "_BHRfS_M", label: 0x1012b, labelSize: 64},
	{kind: "F2FS", offset: at(0x400), magic: "\x10\x20\xf5\xf2"},
	{kind: "LUKS, encrypted", offset: at(0), magic: "LUKS\xba\xbe"},
	{kind: "swap", offset: at(4096 - 10), magic: "SWAPSPACE2"},
	{kind: "squashfs", offset: at(0), magic: "hsqs"},
	{kind: "ISO 9660", offset: at(0x8001), magic: "CD001", label: 0x8028, labelSize: 32},
	{kind: "HFS+", offset: at(0x400), magic: "H+"},
	{kind: "APFS", offset: at(32), magic: "NXSB"},
}

// find returns the first signature of a table that a disk of size bytes bears.
func find(table []signature, disk io.ReaderAt, size int64) (signature, bool) {
	for _, s := range table {
		off := s.offset(size)
		if off >= 0 && bytes.Equal(readAt(disk, off, int64(len(s.magic))), []byte(s.magic)) {
			return s, true
		}
	}
	return signature{}, false
}

// readAt returns n bytes, fewer where there are no more or they cannot be read.
func readAt(disk io.ReaderAt, off, n int64) []byte {
	p := make([]byte, n)
	k, _ := disk.ReadAt(p, off)
	return p[:k]
}

// isZFS reports whether a disk belongs to a pool of ZFS, whose labels of 256 KiB
// each hold uberblocks in their second half, two at either end of the disk.
func isZFS(disk io.ReaderAt, size int64) bool {
	const label, uberblocks, step = 256 << 10, 128 << 10, 1 << 10
	end := size / label * label
	for _, start := range []int64{0, label, end - 2*label, end - label} {
		if start < 0 {
			continue
		}
		p := readAt(disk, start+label-uberblocks, uberblocks)
		for ; len(p) >= step; p = p[step:] {
			const magic = 0x00bab10c
			if binary.LittleEndian.Uint64(p) == magic || binary.BigEndian.Uint64(p) == magic {
				return true
			}
		}
	}
	return false
}

// A part is a disk or one of its partitions.
type part struct{ start, size int64 }

// member returns the set of disks, such as a RAID, that a disk or one of its partitions
// belongs to, "" if to none.
func member(disk io.ReaderAt, parts []part) string {
	for _, p := range parts {
		within := io.NewSectionReader(disk, p.start, p.size)
		if s, ok := find(members, within, p.size); ok {
			return s.kind
		}
		if isZFS(within, p.size) {
			return "ZFS"
		}
	}
	return ""
}

// partitions returns the partitions in the partition table in the first sector.
func partitions(disk io.ReaderAt, size int64) (parts []part) {
	table, err := mbr.Read(disk, size)
	if err != nil {
		return nil
	}
	for _, p := range table.Partitions {
		if p.Size > 0 {
			parts = append(parts, part{p.Start, p.Size})
		}
	}
	return parts
}

// content says what is on a disk of size bytes with partitions.
func content(disk io.ReaderAt, size int64, partitions []part) string {
	if len(partitions) == 0 {
		return system(disk, size)
	}
	var texts []string
	for _, p := range partitions {
		texts = append(texts, system(io.NewSectionReader(disk, p.start, p.size), p.size))
	}
	return fmt.Sprintf("%d partitions: %s", len(texts), strings.Join(texts, ", "))
}

// system says what a partition holds.
func system(disk io.ReaderAt, size int64) string {
	if s, ok := find(systems, disk, size); ok {
		label, _, _ := strings.Cut(string(readAt(disk, s.label, s.labelSize)), "\x00")
		label = strings.TrimSpace(label)
		if label == "" || label == "NO NAME" {
			return s.kind
		}
		return fmt.Sprintf("%s %q", s.kind, label)
	}
	for _, b := range readAt(disk, 0, min(size, 64<<10)) {
		if b != 0 {
			return "unknown"
		}
	}
	return "empty"
}
