//go:build !linux

package diskimage

import "os"

func writeSector(image *os.File, sector []byte, off int64) error {
	_, err := image.WriteAt(sector, off)
	return err
}
