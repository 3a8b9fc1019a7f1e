package recipe

import (
	"fmt"
	"net/netip"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Our files of the network programs, and their own files that hold one of our blocks.
const (
	fragment     = "etc/network/interfaces.d/clusterctrl"
	dhclientConf = "etc/dhcp/dhclient.conf"
	dhcpcdConf   = "etc/dhcpcd.conf"

	dhclientEnterHook = "etc/dhcp/dhclient-enter-hooks.d/clusterctrl"
	dhclientExitHook  = "etc/dhcp/dhclient-exit-hooks.d/clusterctrl"
	dhcpcdExitHook    = "etc/dhcpcd.exit-hook"
)

// hosts are the lines of /etc/hosts by which members of a cluster find each other:
// each has its address whether or not there is a DHCP server, so that no name
// server is needed. A member's own name leads to itself, by the line that the
// vendor has for that; a controller's stands here too, since its owner may put
// another name there.
func hosts(role node.Role) string {
	var b strings.Builder
	names := fmt.Sprintf("controller %v", role)
	if !role.IsController() {
		names = fmt.Sprintf("controller %v %v", node.CBridge, node.CNAT) // whichever it is
	}
	fmt.Fprintf(&b, "%v\t%s\n", node.ControllerAddr, names)
	for id := node.MinID; id <= node.MaxID; id++ {
		if role != id.Role() {
			fmt.Fprintf(&b, "%v\t%v\n", id.Addr(), id)
		}
	}
	return b.String()
}

// bridges returns the edits that make a controller's bridges.
func (s System) bridges(role node.Role) []edit.Edit {
	if s.Network == rootfs.NetworkManager {
		return controllerProfiles(role)
	}
	addr := node.ControllerAddr
	if role.NAT {
		addr = netip.Addr{} // it has no other
	}
	if s.Network == rootfs.IfUpDown {
		return []edit.Edit{
			edit.WriteFile{Name: fragment, Data: s.file("usr/share/clusterctrl/interfaces.bookworm." + role.String()), Perm: 0o644},
			s.besideDHCP(node.Bridge, addr),
		}
	}
	return []edit.Edit{
		edit.WriteFile{Name: fragment, Data: s.file("usr/share/clusterctrl/interfaces." + role.String()), Perm: 0o644},
		dhcpcdBlock(role, node.Unconfigured.Addr()),
		s.besideDHCP(node.Bridge, addr),
	}
}

// noBridges undoes bridges, except for the files that gadgetLink writes anew.
func (s System) noBridges() []edit.Edit {
	if s.Network == rootfs.NetworkManager {
		return append(removeProfiles(bridgeProfiles...), edit.Remove{Name: portsScript})
	}
	return []edit.Edit{edit.Remove{Name: fragment}}
}

// gadgetLink returns the edits that bring up usb0: by DHCP, with addr beside the DHCP
// server's address, or in its place where no server answers.
func (s System) gadgetLink(role node.Role, addr netip.Addr) []edit.Edit {
	switch s.Network {
	case rootfs.NetworkManager:
		return []edit.Edit{gadgetProfile(addr)}
	case rootfs.DHCPCD:
		edits := []edit.Edit{dhcpcdBlock(role, addr)}
		if !role.IsController() {
			edits = append(edits, s.besideDHCP(node.GadgetLink, addr))
		}
		return edits
	}
	edits := []edit.Edit{
		edit.Block{Name: dhclientConf, Text: dhclientBlock(addr)},
		edit.WriteFile{Name: dhclientEnterHook, Data: keepFallback, Perm: 0o644},
	}
	if !role.IsController() {
		edits = append(edits,
			edit.WriteFile{Name: fragment, Data: s.file("usr/share/clusterctrl/interfaces.bookworm.p"), Perm: 0o644},
			s.besideDHCP(node.GadgetLink, addr),
		)
	}
	return edits
}

// besideDHCP lets a link keep its fixed address, which names lead to (see [hosts]),
// where a DHCP server gives the link another. Without addr, no link has a fixed
// address. The script works for dhclient-script(8) and dhcpcd-run-hooks(8) alike.
//
// When a cable is plugged in, dhcpcd starts anew, and would fall back to the fixed
// address only after twenty seconds. An address that is there already it leaves alone.
func (s System) besideDHCP(link string, addr netip.Addr) edit.Edit {
	when := "BOUND | RENEW | REBIND | REBOOT"
	if s.Network == rootfs.DHCPCD {
		when = "CARRIER | " + when
	}
	text := func(link string, addr netip.Addr) string {
		return fmt.Sprintf(`if [ "$interface" = %[1]s ]; then
	case "$reason" in
	%[3]s) ip -4 address replace %[2]s/24 brd + dev %[1]s || true ;;
	esac
fi
`, link, addr, when)
	}
	var hook string
	if addr.IsValid() {
		hook = text(link, addr)
	}
	switch {
	case s.Network == rootfs.DHCPCD:
		was := text(node.Bridge, node.ControllerAddr) + text(node.GadgetLink, node.Unconfigured.Addr())
		return edit.Block{Name: dhcpcdExitHook, Text: hook, Was: was}
	case hook == "":
		return edit.Remove{Name: dhclientExitHook}
	}
	return edit.WriteFile{Name: dhclientExitHook, Data: "# Written by clusterctrl: the fixed address, beside one that DHCP gives.\n" + hook, Perm: 0o644}
}

// noGadget puts usb0 back to what it was on the image.
func (s System) noGadget() []edit.Edit {
	switch s.Network {
	case rootfs.NetworkManager:
		return removeProfiles(gadgetProfileName)
	case rootfs.IfUpDown:
		return []edit.Edit{edit.Block{Name: dhclientConf, Text: dhclientBlock(node.Unconfigured.Addr())}}
	}
	return nil // bridges wrote the whole block
}

// dhclientBlock holds leases that dhclient takes when no server answers within
// ten seconds (dhclient.conf(5), dhclient.leases(5)).
func dhclientBlock(addr netip.Addr) string {
	return fmt.Sprintf(`timeout 10;
initial-interval 2;
lease {
  interface "%s";
  fixed-address %s; # ClusterCTRL Px
  option subnet-mask 255.255.255.0;
  option routers %s;
  option domain-name-servers %s;
  renew never;
  rebind never;
  expire never;
}
lease {
  interface "%s";
  fixed-address %s;
  option subnet-mask 255.255.255.0;
  renew never;
  rebind never;
  expire never;
}
`, node.GadgetLink, addr, node.ControllerAddr, node.FallbackDNS[0], node.Bridge, node.ControllerAddr)
}

// keepFallback is read by dhclient-script(8). Where the router of a fallback lease
// does not answer pings, the script would give the address up, and dhclient would sleep
// for five minutes: a node that started before its controller would have no address.
const keepFallback = `# usb0 keeps its fixed address, whether or not the controller answers by now.
if [ "$reason" = TIMEOUT ] && [ "$interface" = ` + node.GadgetLink + ` ]; then
	ping() { :; }
fi
`

// dhcpcdBlock holds profiles that dhcpcd falls back to (dhcpcd.conf(5)). The
// ports of bridges have no address of their own; eth0 is a port on a bridging
// controller. The block begins with the settings for all interfaces; behind a section
// of the user's, dhcpcd would take them for a part of that section.
func dhcpcdBlock(role node.Role, addr netip.Addr) edit.Edit {
	was := ofAllRoles(func(role node.Role) string { return dhcpcdText(role, addr) })
	return edit.Block{Name: dhcpcdConf, Text: dhcpcdText(role, addr), Was: was, Before: "interface profile ssid"}
}

func dhcpcdText(role node.Role, addr netip.Addr) string {
	deny := []string{node.LinkPrefix + "*", node.USBBootLinkPrefix + "*", node.USBBootLinkPrefix + "*." + fmt.Sprint(node.NFSVLAN), node.InternalBridge}
	if role == node.CBridge {
		deny = append(deny, node.Uplink)
	}
	if role == node.CNAT {
		deny = append(deny, node.Bridge)
	}
	deny = append(deny, node.NFSLink)
	return fmt.Sprintf(`reboot 15
denyinterfaces %[1]s

profile clusterctrl_fallback_%[2]s
static ip_address=%[3]s/24 #ClusterCTRL
static routers=%[4]s
static domain_name_servers=%[5]s %[6]s

profile clusterctrl_fallback_%[7]s
static ip_address=%[4]s/24

interface %[2]s
fallback clusterctrl_fallback_%[2]s

interface %[7]s
fallback clusterctrl_fallback_%[7]s
`, strings.Join(deny, " "), node.GadgetLink, addr, node.ControllerAddr, node.FallbackDNS[0], node.FallbackDNS[1], node.Bridge)
}
