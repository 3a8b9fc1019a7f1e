//go:build !linux

package firstboot

import (
	"errors"
	"fmt"
)

// Main is what the program does as PID 1, on Linux.
func Main(args []string) error {
	return fmt.Errorf("first boot runs as PID 1 of a Pi: %w", errors.ErrUnsupported)
}
