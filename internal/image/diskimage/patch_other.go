//go:build !linux

package diskimage

import "os"

func writePatch(image *os.File, data []byte, off int64) error {
	_, err := image.WriteAt(data, off)
	return err
}
