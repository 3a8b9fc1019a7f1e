//go:build !linux

package disk

import (
	"context"
	"errors"
)

// Run needs Linux's way to bind a server to a link.
func (s *Service) Run(context.Context) error {
	return errors.New("disks are served on Linux only")
}
