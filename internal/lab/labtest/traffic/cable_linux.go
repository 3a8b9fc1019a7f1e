// Package traffic is for guests that are at an end of a USB cable, or at both, and
// send something through it.
package traffic

import (
	"net"
	"net/netip"
	"os"
	"runtime"

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

// Take moves a card into the network.
func (e *FarEnd) Take(card string) error {
	link, err := netlink.LinkByName(card)
	if err != nil {
		return err
	}
	return netlink.LinkSetNsFd(link, int(e.namespace.Fd()))
}

// Up gives a card an address, of a network of 254, and switches it on.
func Up(card string, addr netip.Addr) error {
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
