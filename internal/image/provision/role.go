package provision

import (
	"errors"
	"fmt"
	"io/fs"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A commandLine is where an image has its kernel command line.
type commandLine struct {
	text   string
	offset int64 // on the disk, in bytes
}

// readCommandLine finds the command line of a controller's image. It fits into
// one sector, and the sector is that file's alone.
func readCommandLine(image *rootfs.Image) (commandLine, error) {
	name := image.CommandLine()
	text, err := commandLineText(image)
	if err != nil {
		return commandLine{}, err
	}
	extents, err := image.BootExtents(name)
	if err != nil {
		return commandLine{}, err
	}
	if len(text) > recipe.SectorSize || len(extents) == 0 {
		return commandLine{}, fmt.Errorf("%s: %d bytes: want 1 to %d, a sector", name, len(text), recipe.SectorSize)
	}
	return commandLine{text, extents[0].Offset}, nil
}

// commandLineText returns the text of cmdline.txt.
func commandLineText(image *rootfs.Image) (string, error) {
	text, err := rootfs.ReadText(image, image.CommandLine())
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no %s: want a Raspberry Pi OS image", image.CommandLine())
	}
	return string(text), err
}

func commandLineWords(image *rootfs.Image) (edit.CommandLine, error) {
	text, err := commandLineText(image)
	if err != nil {
		return nil, err
	}
	words, err := edit.ParseCommandLine(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image.CommandLine(), err)
	}
	return words, nil
}

// patch returns the sector that makes the image one of another role. A file
// system fills the rest of a file's last sector with zeros.
func (l commandLine) patch(role node.Role) (diskimage.Patch, error) {
	text, err := recipe.Rebrand(l.text, role)
	if err != nil {
		return diskimage.Patch{}, err
	}
	sector := make([]byte, recipe.SectorSize)
	copy(sector, text)
	return diskimage.Patch{Offset: l.offset, Data: sector}, nil
}
