package clock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen opens a port for [Serve] at an address that this machine has, or will have once
// its bridge is up. If another NTP server has the port, it returns [ErrTaken].
func Listen(ctx context.Context, at netip.AddrPort) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(err, failed)
	}}
	conn, err := config.ListenPacket(ctx, "udp4", at.String())
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, ErrTaken
	}
	return conn, err
}

// Synchronised reports whether a program keeps the kernel's clock in step with another
// one: see adjtimex(2).
func Synchronised() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}
