// Package node holds the facts that every part of a cluster agrees on: what a
// node is called, which MAC and IP addresses follow from its number, which USB
// identity it shows, and where its files live. Change a fact here and the
// images, the gadget, the udev rules and the controller change together.
//
// Numbers run from [MinID] to [MaxID]: node 7 is written "p7", answers at
// 172.19.181.7, and mounts its NFS root from /var/lib/clusterctrl/nfs/p7.
//
// The package computes; it never touches a disk, a bus or the network.
package node

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An ID is the number of a node in its cluster. The zero ID is no node.
type ID uint8

// 253 and 254 are left out: unconfigured nodes answer at
// 172.19.181.253, the controller at .254.
const (
	MinID ID = 1
	MaxID ID = 252
)

// Unconfigured is the number that a node shows as long as it has none of its own.
// [ParseID] refuses it, since no user may ask for it.
const Unconfigured ID = 253

// ParseID parses the written form of an ID, such as "p7".
func ParseID(s string) (ID, error) {
	digits, ok := strings.CutPrefix(s, "p")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil || ID(n) < MinID || ID(n) > MaxID || digits[0] == '0' {
		return 0, fmt.Errorf("node %q: want p%d to p%d", s, MinID, MaxID)
	}
	return ID(n), nil
}

// ParseNumber parses the number that a node has in its settings and shows as its
// serial number on USB: the number of an ID, such as "7", or [Unconfigured].
func ParseNumber(s string) (ID, error) {
	if s == strconv.Itoa(int(Unconfigured)) {
		return Unconfigured, nil
	}
	id, err := ParseID("p" + s)
	if err != nil {
		return 0, fmt.Errorf("number %q: want %d to %d, or %d of a node that is not configured", s, MinID, MaxID, Unconfigured)
	}
	return id, nil
}

// What names at the controller start with; a node's number follows.
const (
	LinkPrefix        = "ethpi"
	USBBootLinkPrefix = "ethupi"
	PortPrefix        = "ttypi"
)

func (id ID) String() string { return "p" + strconv.Itoa(int(id)) }

// UnmarshalText lets an ID be a flag ([flag.TextVar]) or a JSON field.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// Addr is the address of the node's usb0 on [GadgetNet].
func (id ID) Addr() netip.Addr { return netip.AddrFrom4([4]byte{172, 19, 181, byte(id)}) }

// NFSAddr is the address of the node's usb0.10 on [NFSNet].
func (id ID) NFSAddr() netip.Addr { return netip.AddrFrom4([4]byte{172, 19, 180, byte(id)}) }

// HostMAC is the address of the controller's end of the node's USB link.
func (id ID) HostMAC() string { return fmt.Sprintf("00:22:82:ff:fe:%02x", int(id)) }

// DevMAC is the address of the node's end of its USB link.
func (id ID) DevMAC() string { return fmt.Sprintf("00:22:82:ff:ff:%02x", int(id)) }

// Link is the controller's interface to a node that booted from its card.
func (id ID) Link() string { return LinkPrefix + strconv.Itoa(int(id)) }

// USBBootLink is the controller's interface to a node that booted over USB.
func (id ID) USBBootLink() string { return USBBootLinkPrefix + strconv.Itoa(int(id)) }

// Port is the controller's link, in /dev, to the node's serial console.
func (id ID) Port() string { return PortPrefix + strconv.Itoa(int(id)) }

// NFSRoot is the directory on the controller that the node boots from over USB.
func (id ID) NFSRoot() string { return NFSRoots + "/" + id.String() }

// Disk is the file on the controller with what the node, which boots over USB, changed on
// its disk.
func (id ID) Disk() string { return Disks + "/" + id.String() }

// DiskWord is the value of [DiskArg] for the node.
func (id ID) DiskWord() string { return ControllerNFSAddr.String() + "/" + id.String() }
