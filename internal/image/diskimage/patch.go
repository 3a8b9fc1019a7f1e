package diskimage

import (
	"fmt"
	"os"
)

// A Patch replaces a few bytes of an image: a sector, if the image is not compressed.
// The zero Patch changes nothing.
type Patch struct {
	Offset int64 // in bytes
	Data   []byte
}

// Apply writes the bytes into an image.
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
	if err := writePatch(image, p.Data, p.Offset); err != nil {
		return failedWrite(image, err)
	}
	return nil
}

func (p Patch) isZero() bool { return p.Offset == 0 && p.Data == nil }

// check says whether an image of size bytes has those that the patch replaces.
func (p Patch) check(size int64) error {
	if p.Offset < 0 || p.Offset > size-int64(len(p.Data)) {
		return fmt.Errorf("patch of %d bytes at byte %d of an image of %d", len(p.Data), p.Offset, size)
	}
	return nil
}
