package gadget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// await tries at once, and again whenever the kernel says that a device
// controller appeared, for at most o.Wait.
func (o Options) await(ctx context.Context, try func() (done bool, err error)) error {
	if done, err := try(); done || err != nil {
		return err
	}
	events, err := uevents()
	if err != nil {
		return err
	}
	defer events.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait,
		fmt.Errorf("%v are over", o.Wait))
	defer cancel()
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// What came before we listened has no event any more.
		if done, err := try(); done || err != nil {
			return err
		}
		err := nextUDCEvent(events)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: %w", errWaited, context.Cause(ctx))
		}
		if err != nil {
			return err
		}
	}
}

// uevents listens to what the kernel says of devices that come and go.
func uevents() (*os.File, error) {
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

// nextUDCEvent returns at the next event about a device controller, or if there
// were so many events that some were lost. From Linux 5.19 on, a device
// controller has a device of the subsystem gadget, to which gadgets are bound.
func nextUDCEvent(events *os.File) error {
	buf := make([]byte, 8<<10) // the kernel's have at most 2 KiB, and a header
	for {
		n, err := events.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			return nil
		}
		if err != nil {
			return err
		}
		event := buf[:n]
		if bytes.Contains(event, []byte("\x00SUBSYSTEM=udc\x00")) || bytes.Contains(event, []byte("\x00SUBSYSTEM=gadget\x00")) {
			return nil
		}
	}
}
