// Package uevent listens to the kernel's and udev's messages about devices that come and
// go.
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Source is the sender of events: the kernel, as soon as it knows of a device, or
// udev, when it has given a device its names.
type Source uint32

// Sources, in the numbers of their multicast groups.
const (
	Kernel Source = 1
	Udev   Source = 2
)

// Named is the source that announces devices when they have their names: udev or, where
// no udev runs, the kernel.
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
// none is named, or if there were so many events that some were lost. A device that went
// has left sysfs by then.
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
		if len(subsystems) == 0 || slices.Contains(subsystems, value(buf[:n], "SUBSYSTEM")) {
			if value(buf[:n], "ACTION") == "remove" {
				awaitGone("/sys" + value(buf[:n], "DEVPATH"))
			}
			return nil
		}
	}
}

// value returns a variable of an event (Documentation/core-api/kobject.rst), whose parts
// end with a zero.
func value(event []byte, name string) string {
	for part := range bytes.SplitSeq(event, []byte{0}) {
		if v, ok := bytes.CutPrefix(part, []byte(name+"=")); ok {
			return string(v)
		}
	}
	return ""
}

// awaitGone waits until a directory of sysfs is gone. The kernel says that a device goes
// before it removes the device's directory, and says nothing afterwards. Another device
// may have taken the place already: so it gives up after a second.
func awaitGone(dir string) {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		if _, err := os.Lstat(dir); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// drain reads all events that wait. Until they have been read, the kernel drops further
// events without another error.
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
