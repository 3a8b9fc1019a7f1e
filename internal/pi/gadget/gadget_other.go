//go:build !linux

package gadget

import (
	"context"
	"errors"
	"fmt"
)

// Start needs Linux.
func Start(context.Context, Options) (Report, error) { return Report{}, errNotLinux() }

// Stop needs Linux.
func Stop(Options) (Report, error) { return Report{}, errNotLinux() }

func errNotLinux() error { return fmt.Errorf("USB gadget: %w", errors.ErrUnsupported) }
