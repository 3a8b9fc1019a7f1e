package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
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

// neighbours returns the machines that answered lately, by the kernel's tables.
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

// Watch calls tell with each node that is plugged in, unplugged or switched from
// now on, until the context ends or tell returns an error. Boards say nothing by
// themselves, so Watch asks them by supplies, at intervals of pace. Without supplies,
// which may be nil, it does not tell of switching.
func Watch(ctx context.Context, supplies func() []Supply, pace time.Duration, tell func(Event) error) error {
	var f *follower
	var ask time.Time // when to ask the boards next
	return follow(ctx, func(nodes []Node) (next time.Time, done bool, err error) {
		now := time.Now()
		if f == nil {
			f = newFollower(nodes)
		}
		events, next := f.look(now, nodes)
		if supplies != nil && !now.Before(ask) {
			for _, s := range f.compare(supplies()) {
				kind := SwitchedOff
				if s.On {
					kind = SwitchedOn
				}
				events = append(events, Event{now, kind, Node{ID: s.Node, Board: s.Board, Power: s.power(false)}})
			}
			ask = time.Now().Add(pace)
		}
		for _, e := range events {
			if err := tell(e); err != nil {
				return next, false, err
			}
		}
		if supplies != nil && (next.IsZero() || ask.Before(next)) {
			next = ask
		}
		return next, false, nil
	})
}

// Await calls tell with each of the nodes as soon as the node has its link and its
// console, and returns when all have them. It ignores the devices in before: these were
// plugged in before the power was cut.
func Await(ctx context.Context, ids []node.ID, before []Node, tell func(Node)) error {
	missing := slices.Clone(ids)
	return follow(ctx, func(nodes []Node) (next time.Time, done bool, err error) {
		for _, n := range nodes {
			old := slices.ContainsFunc(before, func(b Node) bool { return b.device == n.device })
			if i := slices.Index(missing, n.ID); i >= 0 && n.complete() && !old {
				missing = slices.Delete(missing, i, i+1)
				tell(n)
			}
		}
		return time.Time{}, len(missing) == 0, nil
	})
}

// follow calls look with the nodes that are plugged in: at once, whenever they may have
// changed, and at the time that look returned, if any. It ends when look is done, or
// when the context ends.
func follow(ctx context.Context, look func([]Node) (next time.Time, done bool, err error)) error {
	events, err := uevent.Listen(uevent.Named())
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		nodes, err := Nodes() // a device that comes after this call causes an event
		if err != nil {
			return err
		}
		next, done, err := look(nodes)
		if done || err != nil {
			return err
		}
		events.SetReadDeadline(next)
		if ctx.Err() != nil { // its end set a deadline, which the line before has overwritten
			return ctx.Err()
		}
		if err := uevent.Await(events, "net", "tty", "usb"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
