// Package uevent listens to what Linux says of devices that come, go and change,
// over netlink (kobject uevents), so that nobody has to look again and again.
package uevent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Wait returns once done does or fails. It asks at once, and again whenever a
// device of one of the subsystems comes, goes or changes, until ctx ends; then it
// returns the cause.
func Wait(ctx context.Context, done func() (bool, error), subsystems ...string) error {
	if ok, err := done(); ok || err != nil {
		return err
	}
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// What came before we listened has no event any more.
		if ok, err := done(); ok || err != nil {
			return err
		}
		err := next(events, subsystems)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

func listen() (*os.File, error) {
	const kernelGroup = 1
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen to uevents: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to uevents: %w", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// next returns at the next event about one of the subsystems, or if there were
// so many events that some were lost.
func next(events *os.File, subsystems []string) error {
	buf := make([]byte, 8<<10) // the kernel's have at most 2 KiB, and a header
	for {
		n, err := events.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			return nil
		}
		if err != nil {
			return err
		}
		if slices.Contains(subsystems, subsystem(buf[:n])) {
			return nil
		}
	}
}

// subsystem is that of an event: a header, then KEY=value, each ended by a zero.
func subsystem(event []byte) string {
	for field := range bytes.SplitSeq(event, []byte{0}) {
		if value, ok := bytes.CutPrefix(field, []byte("SUBSYSTEM=")); ok {
			return string(value)
		}
	}
	return ""
}
