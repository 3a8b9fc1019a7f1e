package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

var someRole = rapid.Custom(func(t *rapid.T) node.Role {
	if rapid.Bool().Draw(t, "node") {
		return node.ID(rapid.Uint8Range(1, 252).Draw(t, "id")).Role()
	}
	return rapid.SampledFrom([]node.Role{node.CBridge, node.CNAT}).Draw(t, "controller")
})

// TestBrandLeavesNoTrace takes a Pi through any number of roles: it must come
// out as one that had the last role only.
func TestBrandLeavesNoTrace(t *testing.T) {
	for _, n := range networks {
		t.Run(string(n), func(t *testing.T) {
			s, base := controllerImage(t, n)
			for name, roles := range onceLeft {
				t.Run(name, func(t *testing.T) { testTrace(t, s, base, roles) })
			}
			rapid.Check(t, func(t *rapid.T) {
				testTrace(t, s, base, rapid.SliceOfN(someRole, 1, 4).Draw(t, "roles"))
			})
		})
	}
}

// onceLeft holds changes of role that once left something behind.
var onceLeft = map[string][]node.Role{
	"node to bridge": {node.ID(1).Role(), node.CBridge},
	"node to NAT":    {node.ID(1).Role(), node.CNAT},
	"all around":     {node.CBridge, node.CNAT, node.ID(236).Role(), node.CBridge},
}

func testTrace(t interface{ Fatal(...any) }, s System, base rootfs.Tree, roles []node.Role) {
	last := roles[len(roles)-1]
	long, short := rootfs.NewOverlay(base), rootfs.NewOverlay(base)
	for _, r := range append(slices.Clone(roles), last) { // the last one twice
		if err := edit.Apply(long, brandEdits(s, r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := edit.Apply(short, brandEdits(s, last)); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, long), contents(t, short); got != want {
		t.Fatal("roles ", roles, " left\n", difference(got, want))
	}
}

// TestLostMarks brands a Pi in whose files somebody has left blanks behind the marks of
// our blocks, or removed the lines END: it comes out as any other.
func TestLostMarks(t *testing.T) {
	for _, n := range networks {
		s, base := controllerImage(t, n)
		for _, was := range []node.Role{node.CBridge, node.CNAT, node.ID(236).Role()} {
			for _, end := range []string{"", edit.BlockEnd + " \t\n"} {
				damaged, clean := rootfs.NewOverlay(base), rootfs.NewOverlay(base)
				if err := edit.Apply(damaged, brandEdits(s, was)); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"etc/hosts", "etc/exports", "etc/hosts.allow", "etc/hosts.deny", "boot/firmware/config.txt", "boot/config.txt", dhcpcdExitHook, dhclientConf, dhcpcdConf} {
					text, err := fs.ReadFile(damaged, name)
					if err != nil {
						continue // not in every system
					}
					if err := damaged.WriteFile(name, []byte(strings.ReplaceAll(string(text), edit.BlockEnd+"\n", end)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				role := node.ID(7).Role()
				if err := errors.Join(edit.Apply(damaged, brandEdits(s, role)), edit.Apply(clean, brandEdits(s, role))); err != nil {
					t.Fatal(err)
				}
				if got, want := contents(t, damaged), contents(t, clean); got != want {
					t.Errorf("%s, %v, END %q: left\n%s", n, was, end, difference(got, want))
				}
			}
		}
	}
}

// TestBranded looks at what makes a role, file by file.
func TestBranded(t *testing.T) {
	const wants = "etc/systemd/system/multi-user.target.wants/"
	type image struct {
		System
		tree rootfs.Tree
	}
	images := map[rootfs.NetworkProgram]image{}
	for _, n := range networks {
		s, tree := controllerImage(t, n)
		images[n] = image{s, tree}
	}
	for _, tt := range []struct {
		role    string
		network rootfs.NetworkProgram
		file    string
		want    string // in the file; "-" for no such file; "!x" for no x
	}{
		{"p7", rootfs.NetworkManager, "etc/hostname", "p7\n"},
		{"p7", rootfs.NetworkManager, "etc/hosts", "127.0.1.1\tp7\n"},
		{"p7", rootfs.NetworkManager, "etc/hosts", "\n172.19.181.6\tp6\n172.19.181.8\tp8\n"},
		{"p7", rootfs.NetworkManager, "etc/hosts", "\n172.19.181.254\tcontroller cbridge cnat\n"},
		{"cnat", rootfs.NetworkManager, "etc/hosts", "127.0.1.1\tcnat\n"},
		{"cnat", rootfs.NetworkManager, "etc/hosts", "\n172.19.181.254\tcontroller cnat\n172.19.181.1\tp1\n"},
		{"p7", rootfs.NetworkManager, "etc/udev/rules.d/90-clusterctrl.rules", "-"},
		{"p7", rootfs.NetworkManager, "etc/systemd/system/clusterctrl-name.service.d/other-name.conf", "\nConditionHost=!p7\n"},
		{"cnat", rootfs.NetworkManager, "etc/systemd/system/clusterctrl-name.service.d/other-name.conf", "-"},
		{"cbridge", rootfs.DHCPCD, "etc/hosts", "\n172.19.181.252\tp252\n"},
		{"p7", rootfs.NetworkManager, "etc/default/clusterctrl", "\nTYPE=node\n"},
		{"p7", rootfs.NetworkManager, "etc/default/clusterctrl", "\nID=7\n"},
		{"p7", rootfs.NetworkManager, "etc/issue", `\4{usb0}`},
		{"p7", rootfs.NetworkManager, "boot/firmware/config.txt", "\ndtoverlay=dwc2,dr_mode=peripheral\n[pi4]\n#otg_mode=1 # Controller only\n"},
		{"p7", rootfs.NetworkManager, "boot/firmware/config.txt", "[cm4]\notg_mode=1\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n"}, // stock's own
		{"p7", rootfs.NetworkManager, "boot/firmware/cmdline.txt", "rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n"},
		{"p7", rootfs.NetworkManager, "boot/firmware/cmdline.txt", "!clusterctrl"},
		{"p7", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection", "address1=172.19.181.7/24\n"},
		{"p7", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection", "-"},
		{"p7", rootfs.NetworkManager, "etc/NetworkManager/system-connections/own", "mine\n"},
		{"p7", rootfs.NetworkManager, wants + "clusterctrl-init.service", "-"},
		{"p7", rootfs.NetworkManager, wants + "clusterctrl-disk.path", "-"},
		{"p7", rootfs.NetworkManager, wants + "clusterctrl-clock.service", "-"},
		{"p7", rootfs.NetworkManager, "etc/systemd/timesyncd.conf.d/clusterctrl.conf", "\nNTP=172.19.181.254 "},
		{"p7", rootfs.NetworkManager, wants + "clusterctrl-composite.service", ""},
		{"p7", rootfs.NetworkManager, "etc/systemd/system/getty.target.wants/serial-getty@ttyGS0.service", ""},
		{"p7", rootfs.NetworkManager, "etc/exports", "!nfs"},
		{"p7", rootfs.NetworkManager, "etc/systemd/system/nfs-server.service", "-"}, // no mask on an owner's own server
		{"p7", rootfs.NetworkManager, wants + "nfs-server.service", "enabled"},
		{"p7", rootfs.NetworkManager, "boot/firmware/config.txt", "\n[cm4]\notg_mode=0\n[all]\n# END"}, // against the vendor's own
		{"cnat", rootfs.NetworkManager, "etc/systemd/system/multi-user.target.wants/nfs-server.service", "enabled"},
		{"p7", rootfs.NetworkManager, "etc/sysctl.d/90-clusterctrl.conf", "#net.ipv4.ip_forward=1 # ClusterCTRL\n"},
		{"p252", rootfs.IfUpDown, "etc/network/interfaces.d/clusterctrl", "auto usb0\niface usb0 inet dhcp\n\tmetric 1000\n"},
		{"p252", rootfs.IfUpDown, "etc/dhcp/dhclient.conf", "\n  fixed-address 172.19.181.252; # ClusterCTRL Px\n"},
		{"p252", rootfs.IfUpDown, "etc/dhcp/dhclient.conf", "option rfc3442"},
		{"p252", rootfs.IfUpDown, "etc/dhcp/dhclient-enter-hooks.d/clusterctrl", "= usb0 ]; then\n\tping() { :; }\n"},
		{"p252", rootfs.IfUpDown, "etc/dhcp/dhclient-exit-hooks.d/clusterctrl", "\tBOUND | RENEW | REBIND | REBOOT) ip -4 address replace 172.19.181.252/24 brd + dev usb0 "},
		{"p252", rootfs.IfUpDown, "etc/dhcp/dhclient-exit-hooks.d/clusterctrl", "!br0"},
		{"cnat", rootfs.IfUpDown, "etc/dhcp/dhclient-exit-hooks.d/clusterctrl", "-"},
		{"p252", rootfs.DHCPCD, "etc/dhcpcd.exit-hook", "\tCARRIER | BOUND | RENEW | REBIND | REBOOT) ip -4 address replace 172.19.181.252/24 brd + dev usb0 "},
		{"cbridge", rootfs.DHCPCD, "etc/dhcpcd.exit-hook", " ip -4 address replace 172.19.181.254/24 brd + dev br0 "},
		{"cnat", rootfs.DHCPCD, "etc/dhcpcd.exit-hook", "!br0"},
		{"p252", rootfs.DHCPCD, "etc/dhcpcd.conf", "\nstatic ip_address=172.19.181.252/24 #ClusterCTRL\n"},
		{"p252", rootfs.DHCPCD, "etc/dhcpcd.conf", "\ndenyinterfaces ethpi* ethupi* ethupi*.10 brint usb0.10\n"},
		{"p252", rootfs.DHCPCD, "etc/dhcpcd.conf", "duid\n\n# START ClusterCTRL config\nreboot 15\n"},
		{"p252", rootfs.DHCPCD, "etc/dhcpcd.conf", "# END ClusterCTRL config\ninterface eth0\n"}, // what is for all is before what is for one
		{"p252", rootfs.DHCPCD, "etc/network/interfaces.d/clusterctrl", "-"},
		{"cbridge", rootfs.IfUpDown, "etc/hostname", "cbridge\n"},
		{"cbridge", rootfs.IfUpDown, "etc/default/clusterctrl", "\nTYPE=c\n"},
		{"cbridge", rootfs.IfUpDown, "etc/network/interfaces.d/clusterctrl", "iface br0 inet dhcp\n"},
		{"cbridge", rootfs.IfUpDown, "etc/dhcp/dhclient.conf", "fixed-address 172.19.181.253; # ClusterCTRL Px\n"},
		{"cbridge", rootfs.IfUpDown, "etc/exports", "\n/var/lib/clusterctrl/nfs/p252 172.19.180.252(rw,sync,no_subtree_check,no_root_squash)\n"},
		{"cbridge", rootfs.IfUpDown, "etc/hosts.allow", "\nmountd: 172.19.180. "},
		{"cbridge", rootfs.IfUpDown, wants + "clusterctrl-init.service", ""},
		{"cbridge", rootfs.IfUpDown, wants + "clusterctrl-disk.path", ""},
		{"cbridge", rootfs.IfUpDown, wants + "clusterctrl-clock.service", ""},
		{"cbridge", rootfs.IfUpDown, "etc/systemd/timesyncd.conf.d/clusterctrl.conf", "-"},
		{"cbridge", rootfs.IfUpDown, wants + "clusterctrl-composite.service", "-"},
		{"cbridge", rootfs.IfUpDown, "boot/firmware/config.txt", "\ndtoverlay=dwc2,dr_mode=host\n[pi4]\notg_mode=1 # Controller only\n[cm4]\notg_mode=0\n"},
		{"cbridge", rootfs.DHCPCD, "etc/dhcpcd.conf", "\ndenyinterfaces ethpi* ethupi* ethupi*.10 brint eth0 usb0.10\n"},
		{"cbridge", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-eth0.nmconnection", "master=br0\n"},
		{"cbridge", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection", "method=auto\naddress1=172.19.181.254/24\n"},
		{"cbridge", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection", "-"},
		{"cbridge", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection", "\n[ipv6]\nmethod=link-local\n"},
		{"p7", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection", "\n[ipv6]\nmethod=link-local\n"},
		{"cnat", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-eth0.nmconnection", "-"},
		{"cnat", rootfs.NetworkManager, "etc/NetworkManager/dispatcher.d/90-clusterctrl", "#!/bin/sh\n"},
		{"p7", rootfs.NetworkManager, "etc/NetworkManager/dispatcher.d/90-clusterctrl", "-"},
		{"cnat", rootfs.IfUpDown, "etc/NetworkManager/dispatcher.d/90-clusterctrl", "-"},
		{"cnat", rootfs.NetworkManager, "etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection", "method=manual\naddress1=172.19.181.254/24\n"},
		{"cnat", rootfs.NetworkManager, "etc/default/clusterctrl", "\nTYPE=cnat\n"},
		{"cnat", rootfs.NetworkManager, "etc/sysctl.d/90-clusterctrl.conf", "net.ipv4.ip_forward=1 # ClusterCTRL\n"},
		{"cnat", rootfs.IfUpDown, "etc/network/interfaces.d/clusterctrl", "iface br0 inet static\n\taddress 172.19.181.254/24\n"},
		{"cnat", rootfs.IfUpDown, "etc/network/interfaces.d/clusterctrl", "\nallow-hotplug eth0\niface eth0 inet dhcp\n"},
		{"cnat", rootfs.DHCPCD, "etc/network/interfaces.d/clusterctrl", "iface br0 inet static\n"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", tt.role, tt.network, tt.file), func(t *testing.T) {
			image := images[tt.network]
			tree := rootfs.NewOverlay(image.tree)
			role, err := node.ParseRole(tt.role)
			if err != nil {
				t.Fatal(err)
			}
			if err := edit.Apply(tree, brandEdits(image.System, role)); err != nil {
				t.Fatal(err)
			}
			_, err = tree.Lstat(tt.file) // a link that masks a unit leads nowhere
			switch {
			case tt.want == "-" && !errors.Is(err, fs.ErrNotExist):
				t.Error("it is there")
			case tt.want == "" && err != nil:
				t.Error(err)
			}
			if tt.want == "-" || tt.want == "" {
				return
			}
			got, err := fs.ReadFile(tree, tt.file)
			unwanted, not := strings.CutPrefix(tt.want, "!")
			switch {
			case err != nil:
				t.Error(err)
			case not == strings.Contains("\n"+string(got), unwanted):
				t.Errorf("got\n%s\nwant in it (%t) %q", got, !not, unwanted)
			}
		})
	}
}

// TestBrandKeepsSettings changes TYPE and ID alone of a user's file.
func TestBrandKeepsSettings(t *testing.T) {
	s, tree := controllerImage(t, rootfs.NetworkManager)
	const mine = "# mine\nFANID=3\nTYPE=c # now\nCLUSTERID=4\nID=\nPROTOTYPE=5\nGADGET=ncm\nexport ID=4\n  ID=5\n"
	edits := []edit.Edit{edit.WriteFile{Name: "etc/default/clusterctrl", Data: mine}}
	if err := edit.Apply(tree, append(edits, brandEdits(s, node.ID(9).Role())...)); err != nil {
		t.Fatal(err)
	}
	got, _ := fs.ReadFile(tree, "etc/default/clusterctrl")
	if want := "# mine\nFANID=3\nTYPE=node # now\nCLUSTERID=4\nID=9\nPROTOTYPE=5\nGADGET=ncm\nexport ID=9\n  ID=9\n"; string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTypedName: a controller keeps the name that its owner gave it after it was branded.
// Nodes, and controllers that were nodes, are named after their roles.
func TestTypedName(t *testing.T) {
	for _, tt := range []struct{ was, name, role, want string }{
		{"cbridge", "mypi", "cbridge", "mypi"},
		{"cbridge", "mypi", "cnat", "mypi"},
		{"cnat", "cnat", "cbridge", "cbridge"},
		{"cbridge", "mypi", "p7", "p7"},
		{"p7", "mypi", "cnat", "cnat"},
		{"p7", "mypi", "p7", "p7"},
		{"", "mypi", "cbridge", "cbridge"}, // of the base, not of the owner
	} {
		s, base := controllerImage(t, rootfs.NetworkManager)
		tree := rootfs.NewOverlay(base)
		var edits []edit.Edit
		if tt.was != "" {
			was, err := node.ParseRole(tt.was)
			if err != nil {
				t.Fatal(err)
			}
			edits = brandEdits(s, was)
		}
		role, err := node.ParseRole(tt.role)
		if err != nil {
			t.Fatal(err)
		}
		edits = append(edits,
			edit.WriteFile{Name: "etc/hostname", Data: tt.name + "\n"},
			edit.Line{Name: "etc/hosts", Prefix: "127.0.1.1", Text: "127.0.1.1\t" + tt.name},
		)
		if err := edit.Apply(tree, append(edits, brandEdits(s, role)...)); err != nil {
			t.Fatal(err)
		}
		hostname, _ := fs.ReadFile(tree, "etc/hostname")
		hosts, _ := fs.ReadFile(tree, "etc/hosts")
		if string(hostname) != tt.want+"\n" || !strings.Contains(string(hosts), "\n127.0.1.1\t"+tt.want+"\n") {
			t.Errorf("%v: the name is %q, hosts are %q", tt, hostname, hosts)
		}
	}
}
