package main

import (
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/rpiboot"
	"clusterctrl/internal/controller/usbboot/nfs"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// systemOf names the system in a root, empty if it is none that we know.
func systemOf(roots *nfs.Roots, id node.ID) string {
	tree, err := roots.Root(id)
	if err != nil {
		return ""
	}
	defer tree.Close()
	system, err := rootfs.Identify(tree)
	if err != nil {
		return ""
	}
	return system.Release + " " + string(system.Arch)
}

// A nodesLook is what this controller knows of all nodes at one moment.
type nodesLook struct {
	nodes   []cluster.Node
	mounted []node.ID
	files   fs.FS // of the controller, /sys among them
	letsIn  func(node.ID) bool
}

func (c *controller) lookAtNodes() (nodesLook, error) {
	nodes, err := c.nodes()
	if err != nil {
		return nodesLook{}, err
	}
	mounted, err := nfs.Clients()
	return nodesLook{nodes, mounted, os.DirFS("/"), letsIn}, err
}

// sshPatience is how long a node that runs may take to answer on its SSH port.
const sshPatience = time.Second

// letsIn tells whether a node answers on its SSH port.
func letsIn(id node.ID) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(id.Addr().String(), "22"), sshPatience)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// runs tells whether a node runs from its root here. A connection alone may be that of a
// node which has lost its power since.
func (l nodesLook) runs(id node.ID) bool {
	return slices.Contains(l.mounted, id) && l.has(id, func(n cluster.Node) bool { return n.IsPlugged() && n.Boot == cluster.OverUSB })
}

// has tells whether something is true of a node, or of one of the nodes with its number.
func (l nodesLook) has(id node.ID, is func(cluster.Node) bool) bool {
	return slices.ContainsFunc(l.nodes, func(n cluster.Node) bool { return n.ID == id && is(n) })
}

// state says how far a node without a card is.
func (l nodesLook) state(id node.ID, usbPath string) string {
	if l.runs(id) {
		switch {
		case l.letsIn(id):
			return "ssh"
		case l.has(id, func(n cluster.Node) bool { return n.Boot == cluster.OverUSB && n.Serial != "" }):
			return "console"
		}
		return "root mounted"
	}
	if raw, err := rootfs.ReadText(l.files, bareDevice(usbPath)); err == nil && usbPath != "" {
		if pi, bare, err := rpiboot.ParseDescriptors(raw); err == nil && bare {
			if pi.InROM {
				return "enumerated"
			}
			return "boot files"
		}
	}
	at := slices.IndexFunc(l.nodes, func(n cluster.Node) bool { return n.ID == id })
	switch {
	case at < 0:
		return "unknown"
	case l.nodes[at].IsPlugged() && l.nodes[at].Boot == cluster.FromCard:
		return "started from a card"
	case l.nodes[at].IsPlugged():
		return "started"
	case l.nodes[at].Power == cluster.Silent:
		return "on"
	}
	return string(l.nodes[at].Power)
}

// bareDevice is the file of descriptors of what is plugged in at a USB path.
func bareDevice(usbPath string) string {
	return path.Join("sys/bus/usb/devices", usbPath, "descriptors")
}
