//go:build !linux

package fence

import "errors"

var errNoLinux = errors.New("ports are fenced on Linux only")

// Start needs Linux.
func Start() error { return errNoLinux }

// Check needs Linux.
func Check() error { return errNoLinux }
