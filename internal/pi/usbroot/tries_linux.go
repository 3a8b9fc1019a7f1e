package usbroot

import (
	"errors"
	"net"
	"time"

	"clusterctrl/internal/node"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tries bounds how often the root is asked for before the node starts anew, which
// is every few minutes at worst.
const tries = 40

// pause is between two tries: nothing tells when a server that refused will be ready.
const pause = 3 * time.Second

// insist calls try until it succeeds, at most [tries] times, and tells why it did not.
func insist(tell func(format string, values ...any), try func() error) error {
	var last error
	var link silentLink
	for left := tries - 1; left >= 0; left-- {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || err.Error() != last.Error() {
			tell("%v; trying again, %d times at most", err, left)
		}
		last = err
		link.failed(tell, err)
		time.Sleep(pause)
	}
	return last
}

// A silentLink counts the tries in a row that the controller has left unanswered.
//
// Linux's usbnet, at the controller's end, can miss "the cable is connected" while it
// still handles "it is not" (drivers/net/usb/usbnet.c, EVENT_LINK_CHANGE). It then takes
// nothing from the cable until the node says both once more.
type silentLink struct {
	unanswered int
	told       bool // that the link goes off and on
}

// silentTries is how many tries in a row without an answer have the link switched off and on.
const silentTries = 2

// failed notes how a try failed.
func (l *silentLink) failed(tell func(format string, values ...any), err error) {
	var timed net.Error
	if !errors.Is(err, unix.EHOSTUNREACH) && !(errors.As(err, &timed) && timed.Timeout()) {
		l.unanswered = 0
		return
	}
	if l.unanswered++; l.unanswered < silentTries {
		return
	}
	l.unanswered = 0
	if !l.told { // the controller may be off for a night
		tell("no answer %d times: %s goes off and on, again and again", silentTries, node.GadgetLink)
		l.told = true
	}
	if err := switchOffAndOn(); err != nil {
		tell("%v", err)
	}
}

// switchOffAndOn has the gadget tell the controller that the cable is not connected, and
// then that it is. Nothing tells when the controller has handled the first.
func switchOffAndOn() error {
	card, err := netlink.LinkByName(node.GadgetLink)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetDown(card); err != nil {
		return err
	}
	time.Sleep(pause)
	return netlink.LinkSetUp(card)
}
