//go:build !linux

package inside

import "errors"

// Main is for virtual machines, which have Linux.
func Main([]string) error { return errors.ErrUnsupported }

// Serve is for virtual machines, which have Linux.
func Serve() error { return errors.ErrUnsupported }

// ServeBare is for virtual machines, which have Linux.
func ServeBare() error { return errors.ErrUnsupported }
