// Package traffic is for guests that are at an end of a USB cable, or at both, and
// send something through it.
package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A FarEnd is a network of its own in the same machine. A card that is in it has
// to be reached through its cable.
type FarEnd struct{ namespace *os.File }

// NewFarEnd makes a network that has no card yet.
func NewFarEnd() (*FarEnd, error) {
	var e FarEnd
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		e.namespace, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return &e, err
}

// Close ends the network, once nothing uses it any more.
func (e *FarEnd) Close() error { return e.namespace.Close() }

// Do runs f in the network.
func (e *FarEnd) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(e.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		done <- f()
	}()
	return <-done
}

// Join gives both ends of a cable addresses and switches them on. The card of the
// far end is moved there.
func (e *FarEnd) Join(far string, farAddr netip.Addr, near string, nearAddr netip.Addr) error {
	link, err := netlink.LinkByName(far)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetNsFd(link, int(e.namespace.Fd())); err != nil {
		return err
	}
	// The far end first: while Linux's usbnet is being opened itself, it may miss
	// what ECM says of the near end, and would see no carrier for good.
	if err := e.Do(func() error { return up(far, farAddr) }); err != nil {
		return err
	}
	if err := up(near, nearAddr); err != nil {
		return err
	}
	return e.awaitCarrier(far, near)
}

// up gives a card an address, of a network of 254, and switches it on.
func up(card string, addr netip.Addr) error {
	link, err := netlink.LinkByName(card)
	if err != nil {
		return err
	}
	ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// awaitCarrier returns once the far end sees that the near one is on. usbnet may
// miss that as well while it handles that it was off: then it is told once more.
func (e *FarEnd) awaitCarrier(far, near string) error {
	updates, done := make(chan netlink.LinkUpdate, 1000), make(chan struct{})
	defer close(done)
	err := e.Do(func() error {
		return netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true})
	})
	if err != nil {
		return err
	}
	for range 10 {
		if hasCarrier(far, updates) {
			return nil
		}
		link, err := netlink.LinkByName(near)
		if err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkSetDown(link), netlink.LinkSetUp(link)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: no carrier, with %s switched on", far, near)
}

// hasCarrier waits a moment for a card to have a carrier.
func hasCarrier(card string, updates <-chan netlink.LinkUpdate) bool {
	for patience := time.After(3 * time.Second); ; {
		select {
		case u := <-updates:
			if u.Attrs().Name == card && u.IfInfomsg.Flags&unix.IFF_LOWER_UP != 0 {
				return true
			}
		case <-patience:
			return false
		}
	}
}
