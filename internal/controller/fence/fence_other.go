//go:build !linux

package fence

import "errors"

// Start needs Linux.
func Start() error { return errors.New("ports are fenced on Linux only") }
