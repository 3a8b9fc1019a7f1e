package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Await waits until a device is there.
func Await(dev string) error {
	events, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("uevents: %w", err)
	}
	defer unix.Close(events)
	// Before the first look, so that no device comes between.
	if err := unix.Bind(events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return fmt.Errorf("uevents: %w", err)
	}
	for buf := make([]byte, 1); ; {
		if _, err := os.Stat(dev); err == nil {
			return nil
		}
		_, err := unix.Read(events, buf) // the rest of the message is dropped
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("uevents: %w", err)
		}
	}
}
