//go:build !linux

package power

import (
	"context"
	"errors"
	"fmt"
	"os"

	"clusterctrl/internal/node"
)

var errNotLinux = fmt.Errorf("controllers run Linux: %w", errors.ErrUnsupported)

// ThisMachine has no boards, since it does not run Linux.
func ThisMachine() Machine {
	return Machine{
		Files:     os.DirFS("/"),
		OpenBus:   func(string) (Bus, error) { return nil, errNotLinux },
		OpenLines: func() (Lines, error) { return nil, errNotLinux },
	}
}

func lockDir(string) (unlock func(), err error) { return nil, errNotLinux }

// PowerOn switches nothing on, since nothing here has boards.
func (m Machine) PowerOn(context.Context, Options, Last, []node.ID, func(Step)) error {
	return errNotLinux
}

// Throttled returns nothing: this is no Pi.
func Throttled() string { return "" }
