//go:build !linux

package power

import (
	"errors"
	"fmt"
	"os"
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
