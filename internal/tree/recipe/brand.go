package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Unconfigured returns the edits that make a Pi whose branding failed an unconfigured
// node: on the cable the Pi shows [node.Unconfigured], and above its login prompts why,
// the reason of the failure. Each edit does some good without the others. The words
// that started the branding stay.
func Unconfigured(s System, why string) []edit.Edit {
	// agetty(8) takes a backslash for the start of an escape.
	banner := "NOT CONFIGURED: " + strings.ReplaceAll(why, `\`, `\\`) + "\n" + s.file("usr/share/clusterctrl/issue.p")
	return append(s.role(node.Unconfigured.Role()), edit.WriteFile{Name: "etc/issue", Data: banner, Perm: 0o644})
}

// identity gives a Pi its name.
func (s System) identity(role node.Role) []edit.Edit {
	banner := "issue.p"
	if role.IsController() {
		banner = "issue.c"
	}
	edits := []edit.Edit{
		name{role},
		edit.Block{Name: "etc/hosts", Text: hosts(role), Was: ofAllRoles(hosts)},
		edit.WriteFile{Name: "etc/issue", Data: s.file("usr/share/clusterctrl/" + banner), Perm: 0o644},
	}
	if s.CloudInit {
		userData := path.Join(s.BootDir, "user-data")
		edits = append(edits, cloudName{userData, role.String()}, cloudGadget{userData})
	}
	return edits
}

// Name returns the edits that give a member of the cluster its name.
func Name(role node.Role) []edit.Edit {
	return []edit.Edit{
		edit.WriteFile{Name: "etc/hostname", Data: role.String() + "\n", Perm: 0o644},
		edit.Line{Name: "etc/hosts", Prefix: "127.0.1.1", Text: "127.0.1.1\t" + role.String()},
	}
}

// name gives a Pi the name of its role. A Pi that was a controller and is to be one
// again keeps the name that its owner gave it.
type name struct{ role node.Role }

func (n name) String() string { return fmt.Sprintf("set the name %v", n.role) }

func (n name) Apply(tree rootfs.Tree) error {
	if n.role.IsController() {
		if typed, err := n.hasTyped(tree); err != nil || typed {
			return err
		}
	}
	for _, e := range Name(n.role) {
		if err := e.Apply(tree); err != nil {
			return err
		}
	}
	return nil
}

// hasTyped says whether a controller has a name that is no role's.
func (n name) hasTyped(tree rootfs.Tree) (bool, error) {
	settings, err := rootfs.ReadText(tree, inTree(node.SettingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it was never branded
	}
	if err != nil {
		return false, err
	}
	kind, _ := defaults.Text(settings).Value("TYPE") // what cannot be read is no controller
	if kind != node.CBridge.Type() && kind != node.CNAT.Type() {
		return false, nil
	}
	hostname, err := rootfs.ReadText(tree, "etc/hostname")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	typed := strings.TrimSpace(string(hostname))
	_, noRole := node.ParseRole(typed)
	return typed != "" && noRole != nil, err
}

// controller returns the edits for a controller alone, such as its networks, except
// for the gadget's network.
func (s System) controller(role node.Role) []edit.Edit {
	allow, deny := nfsClients()
	edits := []edit.Edit{
		edit.Block{Name: "etc/exports", Text: exports()},
		edit.Block{Name: "etc/hosts.allow", Text: allow},
		edit.Block{Name: "etc/hosts.deny", Text: deny},
		forwarding(role),
		presets(role),
		edit.WriteFile{Name: busModule, Data: "i2c-dev\n", Perm: 0o644},
		edit.WriteFile{Name: controllerRules, Data: s.file(controllerRules), Perm: 0o644},
		edit.DisableUnit{Unit: consoleUnit},
		edit.DisableUnit{Unit: "clusterctrl-composite.service"},
		edit.DisableUnit{Unit: nameUnit},
		edit.Remove{Name: otherName},
		edit.EnableUnit{Unit: "clusterctrl-init.service"},
		edit.EnableUnit{Unit: diskUnit},
		edit.EnableUnit{Unit: clockUnit},
		edit.Remove{Name: timeSource},
		edit.UnmaskUnit{Unit: nfsUnit},
		edit.UnmaskUnit{Unit: vendorGadgetUnit},
	}
	return append(edits, s.bridges(role)...)
}

// node returns the edits that make a Pi node id, and no longer a controller.
func (s System) node(id node.ID) []edit.Edit {
	allow, deny := nfsClients()
	edits := []edit.Edit{
		edit.Block{Name: "etc/exports", Was: exports()},
		edit.Block{Name: "etc/hosts.allow", Was: allow},
		edit.Block{Name: "etc/hosts.deny", Was: deny},
		forwarding(id.Role()),
		presets(id.Role()),
		edit.Remove{Name: busModule},
		edit.Remove{Name: controllerRules},
		edit.DisableUnit{Unit: "clusterctrl-init.service"},
		edit.DisableUnit{Unit: "clusterctrl-rpiboot.service"},
		edit.DisableUnit{Unit: diskUnit},
		edit.DisableUnit{Unit: clockUnit},
		edit.WriteFile{Name: timeSource, Data: askController, Perm: 0o644},
		edit.MaskUnit{Unit: vendorGadgetUnit},
		edit.EnableUnit{Unit: consoleUnit},
		edit.EnableUnit{Unit: "clusterctrl-composite.service"},
		edit.EnableUnit{Unit: nameUnit},
		edit.WriteFile{Name: otherName, Data: fmt.Sprintf("[Unit]\nConditionHost=!%v\n", id), Perm: 0o644},
		noSupplicant{},
	}
	edits = append(edits, s.noBridges()...)
	return append(edits, s.gadgetLink(id.Role(), id.Addr())...)
}

// ofAllRoles returns the text that a block has for each kind of member, one after the
// other: see [edit.Block].
func ofAllRoles(text func(node.Role) string) string {
	return text(node.CBridge) + text(node.CNAT) + text(node.MinID.Role())
}

// busModule has a controller load the module that gives a ClusterHAT's I2C bus its
// device. Udev loads the modules for other boards.
const busModule = "etc/modules-load.d/clusterctrl.conf"

// controllerRules are udev's rules for the USB devices that nodes and boards are.
const controllerRules = "etc/udev/rules.d/90-clusterctrl.rules"

// nameUnit gives a node its name back, where otherName finds that it starts under
// another: a node whose name is right starts no process for it.
const (
	nameUnit  = "clusterctrl-name.service"
	otherName = "etc/systemd/system/" + nameUnit + ".d/other-name.conf"
)

// diskUnit starts the service that gives nodes their disks, on a controller that has disks.
const diskUnit = "clusterctrl-disk.path"

// The service clockUnit of a controller tells nodes the time. The file timeSource of a node
// has systemd's NTP client ask there.
const (
	clockUnit  = "clusterctrl-clock.service"
	timeSource = "etc/systemd/timesyncd.conf.d/clusterctrl.conf"
)

// askController names Debian's servers too, since the controller of an older image does not
// answer. The NTP client uses the servers that are built into it only where a machine has no
// others (timesyncd.conf(5)).
var askController = fmt.Sprintf(`# Written by clusterctrl: a node has no clock.
[Time]
NTP=%v 0.debian.pool.ntp.org 1.debian.pool.ntp.org
`, node.ControllerAddr)

// consoleUnit is the login prompt on the serial half of the gadget.
const consoleUnit = "serial-getty@ttyGS0.service"

// Units of others. Whether there is an NFS server is the owner's choice everywhere;
// a controller needs one that can start. Trixie's own gadget would take a node's only
// device controller, so that a node masks it.
const (
	nfsUnit          = "nfs-server.service"
	vendorGadgetUnit = "rpi-usb-gadget.service"
)

// presets lets units stay as the role wants them where systemd enables and disables all
// units as their packages say (systemd.preset(5)). "systemctl preset-all" does so, and
// in part the first boot of a system without a machine id. The first line that is for
// a unit counts.
func presets(role node.Role) edit.Edit {
	enabled := "enable clusterctrl-init.service\nenable " + diskUnit + "\nenable " + clockUnit + "\n"
	if !role.IsController() {
		enabled = "enable clusterctrl-composite.service\nenable " + nameUnit + "\nenable serial-getty@.service ttyGS0\n"
	}
	return edit.WriteFile{Name: "usr/lib/systemd/system-preset/50-clusterctrl.preset", Perm: 0o644, Data: "# Written by clusterctrl, by the role of this Pi.\n" +
		enabled +
		"enable clusterctrl-hostkeys.service\ndisable clusterctrl-*.service\ndisable clusterctrl-*.path\n" +
		"disable " + nfsUnit + "\ndisable " + vendorGadgetUnit + "\n"}
}

// forwarding says whether the kernel routes packets: on a routing controller
// alone. Debian 13 no longer reads /etc/sysctl.conf.
func forwarding(role node.Role) edit.Edit {
	line := "#net.ipv4.ip_forward=1 # ClusterCTRL\n"
	if role.NAT {
		line = line[1:]
	}
	return edit.WriteFile{Name: "etc/sysctl.d/90-clusterctrl.conf", Data: line, Perm: 0o644}
}
