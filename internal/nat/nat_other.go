//go:build !linux

package nat

import "errors"

// Start makes the rules, on Linux.
func Start() error { return errors.ErrUnsupported }

// Stop takes the rules away, on Linux.
func Stop() error { return errors.ErrUnsupported }
