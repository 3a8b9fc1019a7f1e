package node

import "net/netip"

// The networks of a cluster. GadgetNet is spoken on usb0, untagged; NFSNet on
// usb0.10, by nodes that boot over USB.
var (
	GadgetNet = netip.MustParsePrefix("172.19.181.0/24")
	NFSNet    = netip.MustParsePrefix("172.19.180.0/24")
)

// Addresses of the controller, which belong to no node.
var (
	ControllerAddr    = netip.MustParseAddr("172.19.181.254") // br0; the nodes' router
	ControllerNFSAddr = netip.MustParseAddr("172.19.180.254") // brint
)

// FallbackDNS are the name servers of a node that gets none from a DHCP server.
var FallbackDNS = []netip.Addr{
	netip.MustParseAddr("8.8.8.8"),
	netip.MustParseAddr("208.67.222.222"),
}

// Interfaces of nodes and controllers. Bridge joins the nodes' links and, on a
// bridging controller, eth0; InternalBridge joins the NFS VLANs.
const (
	GadgetLink     = "usb0"
	NFSLink        = "usb0.10"
	NFSVLAN        = 10
	NFSMTU         = 1496 // of the VLAN: its tag has 4 bytes, which not all cards have room for
	NFSMetric      = 1100 // of routes over the VLAN: behind all others
	Bridge         = "br0"
	InternalBridge = "brint"
	Uplink         = "eth0"
)

// DiskPort is the TCP port, NBD's own, at [ControllerNFSAddr] where the controller gives
// nodes without cards their disks. A disk has the name of its node there.
const DiskPort = 10809

// DiskArg is the word of the kernel's command line that says where a node's disk is:
// nbdroot=172.19.180.254/p7.
const DiskArg = "nbdroot"
