//go:build !linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"clusterctrl/internal/node"
)

var errNotLinux = fmt.Errorf("controllers run Linux: %w", errors.ErrUnsupported)

// Nodes returns what is plugged into this machine, on Linux.
func Nodes() ([]Node, error) { return nil, errNotLinux }

// Watch tells what is plugged in and unplugged, on Linux.
func Watch(context.Context, func() []Supply, time.Duration, func(Event) error) error {
	return errNotLinux
}

// Await waits for nodes, on Linux.
func Await(context.Context, []node.ID, []Node, func(Node)) error { return errNotLinux }
