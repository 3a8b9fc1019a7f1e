//go:build !linux

package console

import (
	"errors"
	"fmt"
	"os"
)

// Open opens a serial port, on Linux.
func Open(name string) (*os.File, error) {
	return nil, fmt.Errorf("%s: controllers run Linux: %w", name, errors.ErrUnsupported)
}
