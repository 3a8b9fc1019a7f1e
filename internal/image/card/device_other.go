//go:build !linux && !darwin

package card

import (
	"errors"
	"io/fs"
	"os"
)

// errSystem says how to write cards on systems where this program cannot.
var errSystem = errors.New(`cards are not written on this system: run "clusterctrl serve" with the image, and have Raspberry Pi Imager write them`)

// List returns the disks that there are.
func List() ([]Disk, error) { return nil, errSystem }

func isDisk(fs.FileInfo) bool { return true }

func findDisk(string, fs.FileInfo) (Disk, error) { return Disk{}, errSystem }

// Open opens a plain file for an image of size bytes.
func Open(d Disk, size int64) (Device, error) {
	if !d.file {
		return nil, errSystem
	}
	return openFile(d, size)
}

func dropCache(*os.File) error { return nil }
