//go:build !linux

package rpiboot

import (
	"context"
	"errors"
)

// Run needs Linux's way to USB devices.
func (s *Server) Run(context.Context) error {
	return errors.New("boot files are served on Linux only")
}
