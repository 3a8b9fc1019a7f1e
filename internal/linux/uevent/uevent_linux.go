// Package uevent listens to what is said of devices that come and go.
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Source is who speaks: the kernel, as soon as it knows, or udev, when it has
// given a device its names.
type Source uint32

// Sources, in the numbers of their multicast groups.
const (
	Kernel Source = 1
	Udev   Source = 2
)

// Named is who speaks when a device has its names: the kernel, where no udev runs
// that would give it others.
func Named() Source {
	if _, err := os.Stat("/run/udev/control"); err != nil {
		return Kernel
	}
	return Udev
}

// Listen starts to listen. Reads of the file return an event each; its deadlines
// work.
func Listen(source Source) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen to uevents: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(source)}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to uevents: %w", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// Await returns at the next event about a device of one of the subsystems, of any if
// none is named, or if there were so many events that some were lost.
func Await(events *os.File, subsystems ...string) error {
	buf := make([]byte, 16<<10) // the kernel's have at most 2 KiB, and a header; udev's add to that
	for {
		n, err := events.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			return drain(events)
		}
		if err != nil {
			return err
		}
		if len(subsystems) == 0 {
			return nil
		}
		for _, s := range subsystems {
			if bytes.Contains(buf[:n], []byte("SUBSYSTEM="+s+"\x00")) {
				return nil
			}
		}
	}
}

// drain reads all that there is. Until it has been, the kernel drops events
// without a further word.
func drain(events *os.File) error {
	conn, err := events.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1) // the rest of an event is dropped
	var readErr error
	err = conn.Read(func(fd uintptr) bool {
		for readErr == nil || errors.Is(readErr, unix.ENOBUFS) || errors.Is(readErr, unix.EINTR) {
			_, readErr = unix.Read(int(fd), buf)
		}
		return true
	})
	if err == nil && !errors.Is(readErr, unix.EAGAIN) {
		err = readErr
	}
	return err
}
