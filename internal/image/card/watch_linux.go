package card

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"clusterctrl/internal/linux/uevent"
	"golang.org/x/sys/unix"
)

// watch returns once try is done or fails. It tries at once, and again whenever a
// disk comes, goes or changes, or something is mounted or unmounted, until ctx ends;
// then it returns the cause.
func watch(ctx context.Context, try func() (done bool, err error)) error {
	events, err := uevent.Listen(uevent.Kernel)
	if err != nil {
		return err
	}
	defer events.Close()
	mounts, err := os.Open(linux.proc + "/self/mountinfo")
	if err != nil {
		return err
	}
	defer mounts.Close()
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ended.Close()
	defer end.Close()
	defer context.AfterFunc(ctx, func() { end.Close() })()
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		if err := await(int(events.Fd()), int(mounts.Fd()), int(ended.Fd())); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// await returns at the next event about a disk or a mount, or at the end.
func await(events, mounts, ended int) error {
	for {
		// The table of mounts is always readable; that it changed is urgent.
		poll := []unix.PollFd{
			{Fd: int32(events), Events: unix.POLLIN},
			{Fd: int32(mounts), Events: unix.POLLPRI},
			{Fd: int32(ended), Events: unix.POLLIN},
		}
		_, err := unix.Poll(poll, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for a card: %w", err)
		}
		if aboutDisk(events) || poll[1].Revents != 0 || poll[2].Revents != 0 {
			return nil
		}
	}
}

// aboutDisk reads all events that there are, and reports whether one is about a
// disk, or was lost.
func aboutDisk(events int) (found bool) {
	buf := make([]byte, 16<<10)
	for {
		n, _, err := unix.Recvfrom(events, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			found = true
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return found
		default:
			found = found || bytes.Contains(buf[:n], []byte("SUBSYSTEM=block\x00"))
		}
	}
}
