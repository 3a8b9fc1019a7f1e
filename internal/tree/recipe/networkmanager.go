package recipe

import (
	"fmt"
	"net/netip"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
)

// NetworkManager's profiles are keyfiles (nm-settings-keyfile(5)); it refuses a keyfile
// that other users than root can read. Our profiles have precedence over the vendor's
// and cloud-init's (autoconnect-priority).
const (
	profileDir        = "etc/NetworkManager/system-connections/"
	gadgetProfileName = "clusterctrl-usb0"
	uplinkProfileName = "clusterctrl-eth0"
	wifiProfileName   = "clusterctrl-wlan0"
	profileHead       = `# Written by clusterctrl.
[connection]
id=%[1]s
uuid=%[2]s
type=%[3]s
autoconnect-priority=100
`
)

// bridgeProfiles are the profiles of a controller. The uplink has a profile only where
// it is a port of the bridge, Wi-Fi where the image was built with a network's name.
var bridgeProfiles = []string{"clusterctrl-br0", "clusterctrl-brint", uplinkProfileName, wifiProfileName}

// The uuids are made up, and the same everywhere: they name the profile, not
// the machine.
var profileUUIDs = map[string]string{
	"clusterctrl-br0":   "6a1b2f5e-4f0c-4a53-9a1e-0c1a5b7d0001",
	"clusterctrl-brint": "6a1b2f5e-4f0c-4a53-9a1e-0c1a5b7d0002",
	uplinkProfileName:   "6a1b2f5e-4f0c-4a53-9a1e-0c1a5b7d0004",
	wifiProfileName:     "6a1b2f5e-4f0c-4a53-9a1e-0c1a5b7d0006",
	gadgetProfileName:   "6a1b2f5e-4f0c-4a53-9a1e-0c1a5b7d0005",
}

func profileFile(name string) string { return profileDir + name + ".nmconnection" }

func profile(name, kind, rest string) edit.Edit {
	return edit.WriteFile{
		Name: profileFile(name),
		Data: fmt.Sprintf(profileHead, name, profileUUIDs[name], kind) + rest,
		Perm: 0o600,
	}
}

func removeProfiles(names ...string) []edit.Edit {
	var edits []edit.Edit
	for _, name := range names {
		edits = append(edits, edit.Remove{Name: profileFile(name)})
	}
	return edits
}

// portsScript is run by NetworkManager-dispatcher(8), and by udev for new bridges.
const portsScript = "etc/NetworkManager/dispatcher.d/90-clusterctrl"

// joinBridges is what the script does. udev has nodes' links join the bridges that
// are up, and NetworkManager has no hand in it, except that it takes all ports out
// of a bridge that it sets up anew. It cannot give a bridge the address of a port.
func joinBridges(role node.Role) string {
	address := fmt.Sprintf("cat %s/address", node.Bridge)
	if !role.NAT {
		address = fmt.Sprintf("cat %s/address 2>/dev/null || %s", node.Uplink, address)
	}
	return fmt.Sprintf(`#!/bin/sh
# Written by clusterctrl: nodes' links join a bridge that comes up, or up anew. It keeps
# an address of its own, or would have that of a node, and another one as nodes come
# and go, of which the others learn late. DHCP servers know a bridging controller by %[6]s's.
cd /sys/class/net && [ -e "$1" ] || exit 0
case "$1 $2" in
"%[1]s up" | "%[1]s down")
	ip link set dev %[1]s address "$(%[7]s)"
	for i in %[2]s*/device %[3]s*/device; do
		[ ! -e "$i" ] || ip link set dev "${i%%/*}" master %[1]s up
	done
	;;
"%[4]s up" | "%[4]s down")
	ip link set dev %[4]s address "$(cat %[4]s/address)"
	for i in %[3]s*.%[5]d; do
		[ ! -e "$i" ] || ip link set dev "$i" master %[4]s
	done
	;;
esac
`, node.Bridge, node.LinkPrefix, node.USBBootLinkPrefix, node.InternalBridge, node.NFSVLAN, node.Uplink, address)
}

// controllerProfiles makes the two bridges.
func controllerProfiles(role node.Role) []edit.Edit {
	br0 := staticAddr(node.ControllerAddr)
	uplink := removeProfiles(uplinkProfileName)
	if !role.NAT {
		br0 = dhcpBeside(node.ControllerAddr)
		uplink = []edit.Edit{profile(uplinkProfileName, "ethernet", uplinkPort())}
	}
	edits := []edit.Edit{
		profile("clusterctrl-br0", "bridge", bridge(node.Bridge)+br0),
		profile("clusterctrl-brint", "bridge", bridge(node.InternalBridge)+staticAddr(node.ControllerNFSAddr)),
		edit.WriteFile{Name: portsScript, Data: joinBridges(role), Perm: 0o755},
	}
	return append(edits, uplink...)
}

// bridge continues the connection section of a bridge's profile. Ports that have
// profiles go up with the bridge: otherwise eth0 would stay out of a bridge that was
// taken down and up again.
func bridge(name string) string {
	return fmt.Sprintf("interface-name=%s\nautoconnect-slaves=1\n\n[bridge]\nstp=false\n", name)
}

// uplinkPort has eth0 join br0.
func uplinkPort() string {
	return fmt.Sprintf("interface-name=%s\nmaster=%s\nslave-type=bridge\n", node.Uplink, node.Bridge)
}

func staticAddr(addr netip.Addr) string {
	return fmt.Sprintf("\n[ipv4]\nmethod=manual\naddress1=%s/24\nnever-default=true\n\n[ipv6]\nmethod=auto\n", addr)
}

// dhcpBeside asks for a lease without end and has addr meanwhile, and also
// when there is one. See [linkLocal].
func dhcpBeside(addr netip.Addr) string {
	return fmt.Sprintf("\n[ipv4]\nmethod=auto\naddress1=%s/24\ndhcp-timeout=2147483647\nmay-fail=true\n"+linkLocal, addr)
}

// linkLocal is IPv6 beside DHCP without end. A link counts as up as soon as IPv4 or
// IPv6 is ready. If neither a DHCP server nor a router answers, as behind a routing
// controller, neither would be, and programs that wait for the network would wait for
// a minute at each boot.
const linkLocal = "\n[ipv6]\nmethod=link-local\n"

// gadgetProfile brings up a node's end of the cable. The controller is its
// router as a last resort, where a server told it of no other.
func gadgetProfile(addr netip.Addr) edit.Edit {
	var dns []string
	for _, a := range node.FallbackDNS {
		dns = append(dns, a.String())
	}
	return profile(gadgetProfileName, "ethernet", fmt.Sprintf(`interface-name=%s

[ipv4]
method=auto
address1=%s/24
route1=0.0.0.0/0,%s,20000
route-metric=1000
dns=%s;
dhcp-timeout=2147483647
may-fail=true
`+linkLocal, node.GadgetLink, addr, node.ControllerAddr, strings.Join(dns, ";")))
}
