package recipe

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Controller returns the edits that make a bridging controller's image out of a
// vendor's image. programs are our programs, built for the image's architecture, by
// their paths on a Pi.
// The image is branded at first boot: see [StartBranding].
func Controller(s System, programs map[string][]byte) []edit.Edit {
	edits := []edit.Edit{fromShell{s}}
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		edits = append(edits, edit.WriteFile{Name: inTree(name), Data: string(programs[name]), Perm: 0o755})
	}
	if s.Version != "" {
		edits = append(edits, edit.WriteFile{Name: inTree(node.VersionFile), Data: s.Version + "\n", Perm: 0o644})
	}
	for _, alias := range node.Aliases {
		target := node.Program
		if path.Dir(alias.Path) == path.Dir(target) {
			target = path.Base(target)
		}
		edits = append(edits, edit.Symlink{Target: target, Name: inTree(alias.Path)})
	}
	edits = append(edits, s.lay()...)
	edits = append(edits, perNode()...)
	edits = append(edits,
		edit.Symlink{Target: "/" + path.Join(s.BootDir, "bootcode.bin"), Name: path.Join(inTree(node.RPIBootDir), "bootcode.bin")},
		edit.EnableUnit{Unit: "clusterctrl-hostkeys.service"},
		edit.RemoveMatching{Pattern: hostKeys},
		forgetMachine{s.Release},
	)
	edits = append(edits, s.settings()...)
	if s.CloudInit {
		edits = append(edits, edit.WriteFile{Name: "etc/cloud/cloud.cfg.d/99-clusterctrl.cfg", Data: cloudConfig, Perm: 0o644})
	}
	edits = append(edits, s.controller(node.CBridge)...)
	edits = append(edits, s.identity(node.CBridge)...)
	edits = append(edits, s.gadgetLink(node.CBridge, node.Unconfigured.Addr())...)
	return append(edits, bootConfig(s.BootDir, node.CBridge), StartBranding{s.BootDir, node.CBridge, s.Arch})
}

// hostKeys are the host keys of the SSH server.
const hostKeys = "etc/ssh/ssh_host_*_key*"

// cloudConfig keeps cloud-init from undoing a node's name and identity. Cloud-init's
// networks are left alone, for the sake of Wi-Fi that a user set: our profiles have
// precedence over the profiles that it makes.
const cloudConfig = `# Written by clusterctrl: a node's name follows from its number.
preserve_hostname: true
manage_etc_hosts: false
`

// perNode returns what a controller keeps for each node that there can be.
func perNode() []edit.Edit {
	var edits []edit.Edit
	for id := node.MinID; id <= node.MaxID; id++ {
		edits = append(edits,
			edit.Mkdir{Name: inTree(id.NFSRoot()), Perm: 0o755},
			edit.WriteFile{Name: "etc/minicom/minirc." + id.String(), Data: minirc(id), Perm: 0o644},
		)
	}
	return edits
}

func minirc(id node.ID) string {
	return fmt.Sprintf("pu port             /dev/%s\npu baudrate         115200\npu rtscts           No\n", id.Port())
}

// exports gives each node its own root. NFS version 3 knows a client by its address
// alone: a machine that takes a node's address can read and write that node's root.
func exports() string {
	var b strings.Builder
	for id := node.MinID; id <= node.MaxID; id++ {
		fmt.Fprintf(&b, "%s %s(rw,sync,no_subtree_check,no_root_squash)\n", id.NFSRoot(), id.NFSAddr())
	}
	return b.String()
}

// nfsClients is the part of hosts.allow(5) that lets nodes, and the machine
// itself, ask for NFS; everybody else is turned away by hosts.deny.
func nfsClients() (allow, deny string) {
	clients := strings.TrimSuffix(node.NFSNet.Masked().Addr().String(), "0")
	for _, daemon := range []string{"mountd", "rpcbind"} {
		allow += fmt.Sprintf("%s: %s 127.0.0.1\n", daemon, clients)
		deny += daemon + ": ALL\n"
	}
	return allow, deny
}

// bootConfig sets our part of config.txt. A controller is a USB host and talks
// to its boards over I2C, bit-banged on the Pis whose hardware cannot wait for
// a slave that stretches the clock; a node is a USB device. On a CM4, the vendor's
// otg_mode=1 chooses a USB controller that does not serve for either.
func bootConfig(bootDir string, role node.Role) edit.Block {
	return edit.Block{Name: path.Join(bootDir, "config.txt"), Text: bootLines(role), Was: ofAllRoles(bootLines), Reset: "[all]\n"}
}

func bootLines(role node.Role) string {
	mode, host := "host", ""
	if !role.IsController() {
		mode, host = "peripheral", "#"
	}
	var b strings.Builder
	b.WriteString("# Written anew when the role of this Pi changes: put your own settings elsewhere.\n")
	b.WriteString("[all]\nenable_uart=1\n")
	for pi := range 5 {
		fmt.Fprintf(&b, "[pi%d]\ndtoverlay=i2c-gpio,bus=1,i2c_gpio_sda=2,i2c_gpio_scl=3\n", pi)
	}
	b.WriteString("[pi5]\ndtparam=i2c_arm=on\n")
	fmt.Fprintf(&b, "[all]\ndtoverlay=dwc2,dr_mode=%s\n", mode)
	fmt.Fprintf(&b, "[pi4]\n%sotg_mode=1 # Controller only\n[cm4]\notg_mode=0\n[all]\n", host)
	return b.String()
}

// forgetMachine takes the machine id out of an image, since all its copies would share
// that id. From Bullseye on systemd knows the word uninitialized; Trixie grows the file
// system only where it finds that word or nothing.
type forgetMachine struct{ release string }

func (f forgetMachine) String() string { return "forget the machine id" }

func (f forgetMachine) Apply(tree rootfs.Tree) error {
	id := ""
	if f.release == "trixie" {
		id = "uninitialized\n"
	}
	if err := (edit.WriteFile{Name: "etc/machine-id", Data: id}).Apply(tree); err != nil {
		return err
	}
	const dbus = "var/lib/dbus/machine-id"
	if info, err := tree.Lstat(dbus); err == nil && info.Mode().IsRegular() {
		return edit.Symlink{Target: "/etc/machine-id", Name: dbus}.Apply(tree)
	}
	return nil
}
