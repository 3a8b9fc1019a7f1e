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
	USBPath string  `json:"usb_path"` // of the port that the node is plugged into, such as 1-1.2.4
	Boot    Boot    `json:"boot"`

	// The network card that the controller sees in the node.
	Interface string       `json:"interface"`
	MAC       string       `json:"mac"`
	Bridge    string       `json:"bridge"` // which has the interface as a port
	LinkState LinkState    `json:"link_state"`
	Addresses []netip.Addr `json:"addresses"` // the fixed ones, then others at which the node answered

	Serial string `json:"serial_port"` // file in /dev

	Since time.Time `json:"since,omitzero"` // when the node was plugged in

	// What the board that switches the node says: see [WithPower].
	Board string `json:"board"`
	Power Power  `json:"power"`

	// OtherHolds says that two nodes claim one number, and that the names that go with
	// it are the other node's.
	OtherHolds bool `json:"other_holds_name"`

	device string // differs for each device, even on the same port
}

// Boot says where a node reads its system from.
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
	NoLink    LinkState = "missing"    // no driver has made an interface of the network card
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

// IsPlugged reports whether the node is plugged in. If not, its board alone knows of it.
func (n Node) IsPlugged() bool { return n.device != "" }
