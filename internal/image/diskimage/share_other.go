//go:build !linux && !darwin

package diskimage

import (
	"errors"
	"os"
)

func share(*Output, *os.File) error { return errors.ErrUnsupported }
