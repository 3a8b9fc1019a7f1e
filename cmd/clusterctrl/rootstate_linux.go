package main

import (
	"net"
	"os"
	"path/filepath"
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
}

func (c *controller) lookAtNodes() (nodesLook, error) {
	nodes, err := c.nodes()
	if err != nil {
		return nodesLook{}, err
	}
	mounted, err := nfs.Clients()
	return nodesLook{nodes, mounted}, err
}

// runs tells whether a node runs from its root here. A connection alone may be that of a
// node which has lost its power since.
func (l nodesLook) runs(id node.ID) bool {
	plugged := func(n cluster.Node) bool { return n.ID == id && n.IsPlugged() && n.Boot == cluster.OverUSB }
	return slices.Contains(l.mounted, id) && slices.ContainsFunc(l.nodes, plugged)
}

// sshPatience is how long a node that runs may take to answer on its SSH port.
const sshPatience = time.Second

// state says how far a node without a card is.
func (l nodesLook) state(id node.ID, usbPath string) string {
	if l.runs(id) {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(id.Addr().String(), "22"), sshPatience)
		if err != nil {
			return "root mounted"
		}
		c.Close()
		return "ssh"
	}
	if raw, err := os.ReadFile(bareDevice(usbPath)); err == nil && usbPath != "" {
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
	return filepath.Join("/sys/bus/usb/devices", usbPath, "descriptors")
}
