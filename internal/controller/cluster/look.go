package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/node"
)

// A Machine is where nodes are looked for.
type Machine struct {
	Files      fs.FS // all of its files: /sys, /dev and /run among them
	Neighbours []Neighbour
	Now        time.Time
	Uptime     time.Duration // by CLOCK_MONOTONIC, the clock in udev's notes
}

// A Neighbour is a machine that answered at an address.
type Neighbour struct {
	MAC  string
	Addr netip.Addr
}

const usbDevices = "sys/bus/usb/devices"

// Nodes returns the nodes that are plugged in, by number. Where two claim one number, the
// one that has the names comes first.
func (m Machine) Nodes() ([]Node, error) {
	entries, err := fs.ReadDir(m.Files, usbDevices)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without USB
	}
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for _, e := range entries {
		if n, ok := m.node(path.Join(usbDevices, e.Name())); ok {
			nodes = append(nodes, n)
		}
	}
	for i, n := range nodes {
		nodes[i].OtherHolds = !n.holdsName() && slices.ContainsFunc(nodes, func(other Node) bool {
			return other.ID == n.ID && other.holdsName()
		})
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), -compare(a.holdsName(), b.holdsName()), cmp.Compare(a.USBPath, b.USBPath))
	})
	return nodes, nil
}

func (n Node) holdsName() bool { return n.Interface == n.name() || n.Serial != "" }

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// node reports whether the USB device in a directory is a node, and returns it. A device
// may go away while this function reads its files; that is no error.
func (m Machine) node(dir string) (Node, bool) {
	id, boot, ok := m.identity(dir)
	if !ok {
		return Node{}, false
	}
	n := Node{
		ID: id, Boot: boot, USBPath: path.Base(dir), LinkState: NoLink,
		Since:  m.since(dir),
		device: path.Base(dir) + "#" + m.read(dir, "devnum"),
	}
	if link, ok := m.child(dir, "net"); ok {
		m.addLink(&n, link)
	}
	n.Addresses = m.addresses(n)
	if tty, ok := m.child(dir, "tty"); ok {
		if target, err := fs.ReadLink(m.Files, "dev/"+id.Port()); err == nil && path.Base(target) == path.Base(tty) {
			n.Serial = "/dev/" + id.Port()
		}
	}
	return n, true
}

// identity reads what a USB device says about itself.
func (m Machine) identity(dir string) (node.ID, Boot, bool) {
	product, err := strconv.ParseUint(m.read(dir, "idProduct"), 16, 16)
	if err != nil || product < node.FirstProductID || product > node.LastProductID ||
		m.read(dir, "idVendor") != fmt.Sprintf("%04x", node.VendorID) {
		return 0, "", false
	}
	id, err := node.ParseNumber(m.read(dir, "serial"))
	if err != nil {
		return 0, "", false
	}
	switch m.read(dir, "product") {
	case node.Product:
		return id, FromCard, true
	case node.USBBootProduct:
		return id, OverUSB, true
	}
	return 0, "", false
}

// child returns the directory of a network card (class net) or a serial port (tty) that
// a driver has made of one of a USB device's interfaces.
func (m Machine) child(dir, class string) (string, bool) {
	found, err := fs.Glob(m.Files, path.Join(dir, "*:*", class, "*"))
	if err != nil || len(found) == 0 {
		return "", false
	}
	return found[0], true
}

func (m Machine) addLink(n *Node, link string) {
	n.Interface = path.Base(link)
	n.MAC = m.read(link, "address")
	if bridge, err := fs.ReadLink(m.Files, path.Join(link, "master")); err == nil {
		n.Bridge = path.Base(bridge)
	}
	const up = 1 // IFF_UP of netdevice(7)
	flags, _ := strconv.ParseUint(m.read(link, "flags"), 0, 32)
	switch {
	case flags&up == 0:
		n.LinkState = LinkDown
	case m.read(link, "carrier") == "1":
		n.LinkState = LinkUp
	default:
		n.LinkState = NoCarrier
	}
}

// addresses are the node's fixed addresses, and those at which its MAC address answered.
func (m Machine) addresses(n Node) []netip.Addr {
	all := []netip.Addr{n.ID.Addr()}
	if n.Boot == OverUSB {
		all = append(all, n.ID.NFSAddr())
	}
	fixed := len(all)
	for _, other := range m.Neighbours {
		if strings.EqualFold(other.MAC, n.ID.DevMAC()) && !slices.Contains(all, other.Addr) && !other.Addr.IsLinkLocalUnicast() {
			all = append(all, other.Addr)
		}
	}
	slices.SortFunc(all[fixed:], netip.Addr.Compare)
	return all
}

// since returns when a USB device was plugged in, by the time since boot that udev notes,
// or where no udev runs by the kernel's own count, which starts again after 49 days. The
// times of files in /sys are of no use: such a file has the time when a program first
// looked at it, by a clock that is wrong when a Pi starts.
func (m Machine) since(dir string) time.Time {
	major, minor, ok := strings.Cut(m.read(dir, "dev"), ":")
	if !ok {
		return time.Time{}
	}
	notes := m.read("run/udev/data", "c"+major+":"+minor)
	for line := range strings.Lines(notes) {
		if us, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, "I:")), 10, 64); err == nil {
			return m.Now.Add(time.Duration(us)*time.Microsecond - m.Uptime)
		}
	}
	ms, err := strconv.ParseInt(m.read(dir, "power/connected_duration"), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return m.Now.Add(-time.Duration(ms) * time.Millisecond)
}

// read returns the text of an attribute, empty if there is none.
func (m Machine) read(dir, name string) string {
	text, err := fs.ReadFile(m.Files, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
