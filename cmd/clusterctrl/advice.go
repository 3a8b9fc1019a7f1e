package main

import (
	"errors"
	"fmt"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/fat"
)

// advised adds to an error what the user can do about it, whichever verb met it.
func advised(err error) error {
	if errors.Is(err, ext4.ErrCorrupt) || errors.Is(err, fat.ErrCorrupt) {
		return fmt.Errorf("%w: the file system is damaged: download the image again", err)
	}
	return err
}
