package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"clusterctrl/internal/linux/uevent"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Nodes returns what is plugged into this machine: see [Machine.Nodes].
func Nodes() ([]Node, error) {
	m, err := thisMachine()
	if err != nil {
		return nil, err
	}
	return m.Nodes()
}

func thisMachine() (Machine, error) {
	var uptime unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &uptime); err != nil {
		return Machine{}, err
	}
	neighbours, err := neighbours()
	if err != nil {
		return Machine{}, err
	}
	return Machine{os.DirFS("/"), neighbours, time.Now(), time.Duration(uptime.Nano())}, nil
}

// neighbours returns who answered lately, as the kernel's tables have it.
func neighbours() ([]Neighbour, error) {
	entries, err := netlink.NeighList(0, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("neighbour table: %w", err)
	}
	const unanswered = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NONE
	var all []Neighbour
	for _, e := range entries {
		if addr, ok := netip.AddrFromSlice(e.IP); ok && e.State&unanswered == 0 {
			all = append(all, Neighbour{e.HardwareAddr.String(), addr.Unmap()})
		}
	}
	return all, nil
}

// Watch calls tell with each node that is plugged in or unplugged from now on,
// until the context or tell ends it.
func Watch(ctx context.Context, tell func(Event) error) error {
	source := uevent.Udev
	if _, err := os.Stat("/run/udev/control"); err != nil {
		source = uevent.Kernel // nobody gives names here
	}
	events, err := uevent.Listen(source)
	if err != nil {
		return err
	}
	defer events.Close()
	nodes, err := Nodes() // what comes from here on has an event
	if err != nil {
		return err
	}
	f := newFollower(nodes)
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	var next time.Time
	for {
		events.SetReadDeadline(next)
		if ctx.Err() != nil { // whose deadline was overwritten
			return ctx.Err()
		}
		if err := uevent.Await(events, "net", "tty", "usb"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if nodes, err = Nodes(); err != nil {
			return err
		}
		var happened []Event
		happened, next = f.look(time.Now(), nodes)
		for _, e := range happened {
			if err := tell(e); err != nil {
				return err
			}
		}
	}
}
