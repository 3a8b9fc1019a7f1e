package usbroot

import (
	"errors"
	"fmt"
	"net"

	"clusterctrl/internal/node"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// startNetwork brings up the gadget's network card, and on it the VLAN over which
// the controller gives out systems, with the node's fixed address. What is as it
// should be stays.
func startNetwork(p Plan) error {
	card, err := netlink.LinkByName(node.GadgetLink)
	if err != nil {
		return fmt.Errorf("%s: %w", node.GadgetLink, err)
	}
	if err := netlink.LinkSetUp(card); err != nil {
		return fmt.Errorf("%s up: %w", node.GadgetLink, err)
	}
	vlan, err := vlanOn(card)
	if err != nil {
		return err
	}
	bits := node.NFSNet.Bits()
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: p.ID.NFSAddr().AsSlice(), Mask: net.CIDRMask(bits, 32)},
		Flags: unix.IFA_F_NOPREFIXROUTE, // its route is below, with a metric
	}
	if err := netlink.AddrReplace(vlan, address); err != nil {
		return fmt.Errorf("%v on %s: %w", p.ID.NFSAddr(), node.NFSLink, err)
	}
	if err := netlink.LinkSetUp(vlan); err != nil {
		return fmt.Errorf("%s up: %w", node.NFSLink, err)
	}
	route := &netlink.Route{
		LinkIndex: vlan.Attrs().Index, Scope: netlink.SCOPE_LINK, Priority: node.NFSMetric,
		Dst: &net.IPNet{IP: node.NFSNet.Addr().AsSlice(), Mask: net.CIDRMask(bits, 32)},
		Src: p.ID.NFSAddr().AsSlice(),
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %v: %w", node.NFSNet, err)
	}
	return nil
}

// vlanOn returns the VLAN on a network card, which it adds if it is not there. The VLAN
// stays up, and keeps its route, while something takes the card down and up again.
func vlanOn(card netlink.Link) (netlink.Link, error) {
	loose := true
	vlan := &netlink.Vlan{
		LinkAttrs:    netlink.LinkAttrs{Name: node.NFSLink, ParentIndex: card.Attrs().Index, MTU: node.NFSMTU},
		VlanId:       node.NFSVLAN,
		LooseBinding: &loose,
	}
	err := netlink.LinkAdd(vlan)
	if errors.Is(err, unix.EEXIST) {
		return netlink.LinkByName(node.NFSLink)
	}
	if err != nil {
		return nil, fmt.Errorf("add %s (8021q): %w", node.NFSLink, err)
	}
	return vlan, nil
}

// awaitCarrier returns once the controller has taken the cable's end up. There is
// no limit: a controller that restarts comes back at some time.
func awaitCarrier(name string) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return fmt.Errorf("listen to the kernel's links: %w", err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if hasCarrier(link) {
		return nil
	}
	say("%s: waiting for the controller", name)
	for u := range updates {
		if u.Attrs().Name == name && hasCarrier(u.Link) {
			return nil
		}
	}
	return fmt.Errorf("%s: the kernel tells no more of its links", name)
}

func hasCarrier(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 }
