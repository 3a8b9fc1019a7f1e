//go:build !linux

package clock

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Listen works on Linux alone, which controllers run.
func Listen(context.Context, netip.AddrPort) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

// Synchronised reports false: see Listen.
func Synchronised() bool { return false }
