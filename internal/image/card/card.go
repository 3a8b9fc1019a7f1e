// Package card writes images to cards: to several at a time, and in a way that an
// unfinished card never looks finished.
//
// The first sector of an image holds its partition table. On a card, it is
// destroyed first and written last, after all else was written, flushed, read
// back, and found to be what was written. Whatever happens in between, a computer
// finds no partitions on the card, and a Pi does not boot from it.
//
// [Policy.Check] decides which disks are taken for cards. [List] and [Find] find the
// disks of a system. A [Device] writes to a disk: a card is a block device on Linux and
// macOS, and may be a plain file anywhere.
package card

import (
	"errors"
	"fmt"
	"io"

	"clusterctrl/internal/format/mbr"
)

// SectorSize is the size that a card's sectors must have, in bytes: partition tables
// count in sectors.
const SectorSize = mbr.SectorSize

// A Disk is a whole disk of a system, with the facts that tell whether it is a card,
// and which.
type Disk struct {
	Path   string `json:"path"` // of its device, or of a plain file
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Bus    string `json:"bus"`  // "usb", "mmc", or another; empty if unknown
	Size   int64  `json:"size"` // in bytes; 0 where a reader holds no card

	SectorSize int  `json:"sector_size"` // in bytes
	Removable  bool `json:"removable"`   // the medium, or all of it
	ReadOnly   bool `json:"read_only"`

	// Content says in words for people what is on the disk.
	Content string `json:"content"`
	// InUse says what the disk is in use for; empty if it is not in use.
	InUse string `json:"in_use"`

	file     bool   // a plain file
	fresh    bool   // that is yet to be made, as large as the image
	sequence uint64 // another with every change of the medium; 0 if unknown
}

// IsNew reports whether the disk is a plain file that is not there yet.
func (d Disk) IsNew() bool { return d.fresh }

// A Policy says which disks are taken for cards.
type Policy struct {
	MaxSize int64 // in bytes: a larger disk is likely to hold data
	Any     bool  // also disks that are neither removable nor on USB nor MMC
}

// Check returns why a disk is not to be written to, nil if it may be. The image has
// size bytes, 0 if its size is not known yet.
func (p Policy) Check(d Disk, size int64) error {
	err := p.check(d, size)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Path, err)
	}
	return nil
}

func (p Policy) check(d Disk, size int64) error {
	switch {
	case d.InUse != "":
		return fmt.Errorf("%s: want a card that is not in use", d.InUse)
	case !d.file && !d.Removable && d.Bus != "usb" && d.Bus != "mmc" && !p.Any:
		return errors.New("neither removable nor on USB nor an SD card: want a card, or --any-disk")
	case d.fresh:
		return nil
	case d.Size == 0 && !d.file:
		return errors.New("no card in the reader")
	case d.ReadOnly && d.file:
		return errors.New("is a read-only file")
	case d.ReadOnly:
		return errors.New("read-only: move the switch at the card's edge, or take another reader")
	case d.SectorSize != SectorSize:
		return fmt.Errorf("sectors of %d bytes: the image wants %d", d.SectorSize, SectorSize)
	case !d.file && d.Size > p.MaxSize:
		return fmt.Errorf("holds %s, more than a card of %s: if it is one, say --max-size %d", bytesText(d.Size), bytesText(p.MaxSize), d.Size)
	case d.Size < size:
		return fmt.Errorf("holds %d bytes, too few for the image of %d", d.Size, size)
	}
	return nil
}

// bytesText writes a size as makers of cards print it.
func bytesText(n int64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}} {
		if float64(n) >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// Describe says in a line which disk it is.
func (d Disk) Describe() string {
	text := d.Path
	if d.Model != "" {
		text += "  " + d.Model
	}
	text += "  " + bytesText(d.Size)
	if d.Serial != "" {
		text += "  serial " + d.Serial
	}
	if d.Content != "" {
		text += "  (" + d.Content + ")"
	}
	return text
}

// A Device is a disk that this program alone has open to write to.
// Offsets, lengths and the addresses of buffers are multiples of the sector size.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Sync returns when all written data is on the medium. Reads after Sync come from
	// the medium, not from a cache.
	Sync() error
	// Finish has the system read the disk's new partition table, or gives a new file
	// its name.
	Finish() error
	// Discard tells the disk that it may forget all its data.
	Discard() error
	// Gone reports whether the disk was taken out.
	Gone() bool
}

// An Image is what is written to a card. Several goroutines read it at a time.
type Image interface {
	io.ReaderAt
	Size() int64 // in bytes, a multiple of the sector size
}
