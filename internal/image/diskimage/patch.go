package diskimage

import (
	"fmt"
	"os"
)

// A Patch replaces one sector of an image. The zero Patch changes nothing.
type Patch struct {
	Offset int64  // in bytes, at the start of a sector
	Sector []byte // 512 bytes
}

// Apply writes the sector into an image.
func (p Patch) Apply(image *os.File) error {
	if p.isZero() {
		return nil
	}
	size, err := fileSize(image)
	if err != nil {
		return err
	}
	if err := p.check(size); err != nil {
		return fmt.Errorf("%s: %w", finalName(image.Name()), err)
	}
	if err := writeSector(image, p.Sector, p.Offset); err != nil {
		return failedWrite(image, err)
	}
	return nil
}

func (p Patch) isZero() bool { return p.Offset == 0 && p.Sector == nil }

// check says whether an image of size bytes has the sector.
func (p Patch) check(size int64) error {
	switch {
	case p.isZero():
		return nil
	case len(p.Sector) != sectorSize:
		return fmt.Errorf("patch of %d bytes; want a sector of %d", len(p.Sector), sectorSize)
	case p.Offset%sectorSize != 0:
		return fmt.Errorf("patch at byte %d; want a multiple of %d", p.Offset, sectorSize)
	case p.Offset < 0 || p.Offset > size-sectorSize:
		return fmt.Errorf("patch at byte %d of an image of %d", p.Offset, size)
	}
	return nil
}
