//go:build !linux

package nat

import "errors"

// Start makes the rules, on Linux.
func Start() error { return errors.ErrUnsupported }

// Stop takes the rules away, on Linux.
func Stop() error { return errors.ErrUnsupported }

// Dropping names the chains of others that keep packets from being forwarded, on
// Linux.
func Dropping() ([]string, error) { return nil, errors.ErrUnsupported }
