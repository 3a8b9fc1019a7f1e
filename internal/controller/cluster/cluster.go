// Package cluster is a controller's live view of its nodes: what is plugged in
// now, under which names, and what comes and goes.
//
// The package relies only on what Linux and udev know of the devices. It keeps no
// state and changes nothing, so that any user may look at any time.
package cluster

import (
	"net/netip"
	"time"

	"clusterctrl/internal/node"
)

// A Node is a node that is plugged in. Fields are empty for names and devices that the
// controller does not have, or not yet.
type Node struct {
	ID      node.ID `json:"node"`
	USBPath string  `json:"usb_path"` // the port that it hangs on, such as 1-1.2.4
	Boot    Boot    `json:"boot"`

	// The network card that the node is on the controller.
	Interface string       `json:"interface"`
	MAC       string       `json:"mac"`
	Bridge    string       `json:"bridge"` // that the interface is a port of
	LinkState LinkState    `json:"link_state"`
	Addresses []netip.Addr `json:"addresses"` // the fixed ones, then others that it was seen with

	Serial string `json:"serial_port"` // file in /dev

	Since time.Time `json:"since,omitzero"` // it is plugged in

	// What the board that switches the node says: see [WithPower].
	Board string `json:"board"`
	Power Power  `json:"power"`

	// OtherHolds says that another node, which claims the same number, has its
	// names.
	OtherHolds bool `json:"other_holds_name"`

	device string // differs for each device, even on the same port
}

// Boot is where a node has its system from.
type Boot string

const (
	FromCard Boot = "SD"
	OverUSB  Boot = "USB"
)

// LinkState tells whether packets can pass between node and controller.
type LinkState string

const (
	LinkUp    LinkState = "up"
	LinkDown  LinkState = "down"       // the interface was not brought up
	NoCarrier LinkState = "no carrier" // the node has not brought up its end
	NoLink    LinkState = "missing"    // no driver made an interface of it
)

// name is what udev calls the node's network card.
func (n Node) name() string {
	if n.Boot == OverUSB {
		return n.ID.USBBootLink()
	}
	return n.ID.Link()
}

// complete tells whether the node has all its names.
func (n Node) complete() bool { return n.Interface == n.name() && n.Serial != "" }

// IsPlugged tells a node that is plugged in from one that only its board knows of.
func (n Node) IsPlugged() bool { return n.device != "" }
