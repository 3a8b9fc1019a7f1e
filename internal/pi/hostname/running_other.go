//go:build !linux

package hostname

import "errors"

// SetRunning has the kernel call the machine by a name.
func SetRunning(string) error { return errors.ErrUnsupported }
