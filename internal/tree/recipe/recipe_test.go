package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

// unitFiles are those of the vendor that edits refer to.
var unitFiles = map[string]string{
	"usr/lib/systemd/system/serial-getty@.service": "[Service]\nExecStart=/sbin/agetty\n[Install]\nWantedBy=getty.target\n",
	"usr/lib/systemd/system/nfs-server.service":    "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
}

const stockLine = "console=serial0,115200 root=PARTUUID=1-02 rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n"

// stock returns the files of a vendor's image, as far as edits look at them.
func stock(n rootfs.NetworkProgram) (System, map[string]string) {
	s := System{
		OS:       rootfs.OS{Release: "bookworm", Arch: rootfs.ARM64, Flavour: rootfs.Lite, BootDir: "boot/firmware", Network: n},
		Settings: Settings{Gadget: node.RNDIS},
	}
	files := map[string]string{
		"boot/firmware/cmdline.txt":                 stockLine,
		"boot/firmware/config.txt":                  "dtparam=audio=on\n[cm4]\notg_mode=1\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n[all]\n",
		"etc/hosts":                                 "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
		"etc/hostname":                              "raspberrypi\n",
		"etc/issue":                                 "Debian\n",
		"etc/machine-id":                            "",
		"etc/fstab":                                 "PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n",
		"usr/lib/raspberrypi-sys-mods/firstboot":    "#!/bin/sh\n",
		"etc/ssh/ssh_host_rsa_key":                  "secret\n",
		"etc/NetworkManager/NetworkManager.conf":    "",
		"etc/NetworkManager/system-connections/own": "mine\n",
	}
	switch n {
	case rootfs.DHCPCD:
		s.Release, s.BootDir = "bullseye", "boot"
		files["boot/cmdline.txt"], files["boot/config.txt"] = stockLine, "dtparam=audio=on\n"
		delete(files, "boot/firmware/cmdline.txt")
		delete(files, "boot/firmware/config.txt")
		files["etc/dhcpcd.conf"] = "hostname\nduid\n\ninterface eth0\nstatic ip_address=10.1.2.3/24\n"
	case rootfs.IfUpDown:
		files["etc/dhcp/dhclient.conf"] = "option rfc3442 code 121 = array of unsigned integer 8;\n"
		files["etc/network/interfaces"] = "source /etc/network/interfaces.d/*\n"
	}
	for name, text := range unitFiles {
		files[name] = text
	}
	// The owner of the controller has an NFS server, whoever installed it.
	files["etc/systemd/system/multi-user.target.wants/nfs-server.service"] = "enabled"
	return s, files
}

var networks = []rootfs.NetworkProgram{rootfs.NetworkManager, rootfs.IfUpDown, rootfs.DHCPCD}

var programs = map[string][]byte{node.Program: []byte("program"), node.ReconfigPath: []byte("first boot")}

// brandEdits are all edits of a branding, the last among them.
func brandEdits(s System, role node.Role) []edit.Edit {
	return append(s.brand(role), finishBranding{s.BootDir})
}

// controllerImage returns the tree of a controller's image as built.
func controllerImage(t *testing.T, n rootfs.NetworkProgram) (System, rootfs.Tree) {
	t.Helper()
	s, tree := stockTree(t, n)
	if err := edit.Apply(tree, Controller(s, programs)); err != nil {
		t.Fatal(err)
	}
	return s, tree
}

// stockTree returns the tree of a vendor's image. It is in memory where there
// is a directory for that: each write waits for the disk.
func stockTree(t *testing.T, n rootfs.NetworkProgram) (System, rootfs.Tree) {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "tree")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, files := stock(n)
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := rootfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return s, tree
}

// contents lists the files and links of a tree. Directories may stay empty.
func contents(t interface{ Fatal(...any) }, tree rootfs.Tree) string {
	var b strings.Builder
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if name == "var/lib/clusterctrl/nfs" || name == "etc/minicom" {
			return fs.SkipDir // large, and no role's
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := tree.Lstat(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%v %s\n", info.Mode(), name)
		switch info.Mode().Type() {
		case 0:
			text, err := fs.ReadFile(tree, name)
			fmt.Fprintf(&b, "%s\n", text)
			return err
		case fs.ModeSymlink:
			target, err := tree.ReadLink(name)
			fmt.Fprintf(&b, "-> %s\n", target)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

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

// TestOwnUSBMode: the line that switches a Pi's USB port is its last, over which the owner's does
// not win; it stays in the section of the file that it was in.
func TestOwnUSBMode(t *testing.T) {
	s, base := controllerImage(t, rootfs.NetworkManager)
	tree := rootfs.NewOverlay(base)
	const name = "boot/firmware/config.txt"
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	own := "dtoverlay=dwc2,dr_mode=host\n[cm5]\ndtoverlay=mine\n"
	if err := errors.Join(tree.WriteFile(name, append(text, own...), 0o755), edit.Apply(tree, brandEdits(s, node.ID(7).Role()))); err != nil {
		t.Fatal(err)
	}
	got, err := fs.ReadFile(tree, name)
	if err != nil || !strings.Contains(string(got), "[all]\n"+own+edit.BlockStart+"\n") || !strings.HasSuffix(string(got), "[all]\n"+edit.BlockEnd+"\n") {
		t.Errorf("got %v\n%s\nwant our block behind %q", err, got, own)
	}
}

// difference returns the lines that only one of two texts has.
func difference(a, b string) string {
	var d []string
	linesA, linesB := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range linesA {
		if !slices.Contains(linesB, l) {
			d = append(d, "+"+l)
		}
	}
	for _, l := range linesB {
		if !slices.Contains(linesA, l) {
			d = append(d, "-"+l)
		}
	}
	return strings.Join(d, "\n")
}

// TestControllerTwice builds on what was built: nothing may change.
func TestControllerTwice(t *testing.T) {
	for _, n := range networks {
		s, tree := controllerImage(t, n)
		plan, err := edit.NewPlan(tree, Controller(s, programs))
		if err != nil || len(plan) > 0 {
			var b strings.Builder
			plan.WriteDiff(&b)
			t.Errorf("%s: %v\n%s", n, err, b.String())
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

// TestUdevRules looks for the rules without which a link stays as it was.
func TestUdevRules(t *testing.T) {
	const rules = "etc/udev/rules.d/90-clusterctrl.rules"
	// NetworkManager's 85-nm-unmanaged.rules, before ours, set this to 1.
	const manage = `SUBSYSTEM=="net", KERNEL=="usb0", ENV{DEVTYPE}=="gadget", ENV{NM_UNMANAGED}="0"`
	const (
		join    = `RUN+="/bin/ip link set dev $name master br0 up"`
		collect = `KERNEL=="br0|brint", RUN+="/etc/NetworkManager/dispatcher.d/90-clusterctrl $name up"`
	)
	for _, n := range networks {
		s, _ := stock(n)
		text := s.file(rules)
		if !strings.Contains(text, join) {
			t.Errorf("%s: want %s", n, join)
		}
		if !strings.Contains(s.file("etc/udev/rules.d/90-clusterctrl-gadget.rules"), manage+"\n") {
			t.Errorf("%s: want %s", n, manage)
		}
		if got, want := strings.Contains(text, collect), n == rootfs.NetworkManager; got != want {
			t.Errorf("%s: has %s: %t, want %t", n, collect, got, want)
		}
	}
}

// TestJoinBridges runs the script for NetworkManager with a directory of links in the
// place of the kernel's, and a program ip that prints its arguments.
func TestJoinBridges(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"net/br0", "net/brint", "net/eth0/device", "net/ethpi1/device", "net/ethpi252/device", "net/ethupi7/device", "net/ethupi7.10"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte("#!/bin/sh\necho \"$*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for bridge, address := range map[string]string{"br0": "of br0", "brint": "of brint", "eth0": "of eth0"} {
		if err := os.WriteFile(filepath.Join(dir, "net", bridge, "address"), []byte(address+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const links = "link set dev ethpi1 master br0 up\nlink set dev ethpi252 master br0 up\nlink set dev ethupi7 master br0 up\n"
	const brint = "link set dev brint address of brint\nlink set dev ethupi7.10 master brint\n"
	for role, address := range map[node.Role]string{node.CBridge: "of eth0", node.CNAT: "of br0"} {
		script := strings.Replace(joinBridges(role), "/sys/class/net", filepath.Join(dir, "net"), 1)
		br0 := "link set dev br0 address " + address + "\n" + links
		for args, want := range map[string]string{
			"br0 up": br0, "br0 down": br0, "br0 pre-up": "", "brint up": brint, "brint down": brint, "eth0 up": "", "none hostname": "",
		} {
			cmd := exec.Command("sh", append([]string{"-c", script, "script"}, strings.Fields(args)...)...)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%v: %s: %v\n%swant\n%s", role, args, err, out, want)
			}
		}
	}
}

// TestHostKeysOrder: services start after all sockets unless they say otherwise. So
// nothing may be ordered before a socket: to break the cycle, systemd would leave out the
// socket.
func TestHostKeysOrder(t *testing.T) {
	s, _ := stock(rootfs.NetworkManager)
	unit := s.file("usr/lib/systemd/system/clusterctrl-hostkeys.service")
	for line := range strings.Lines(unit) {
		if strings.HasPrefix(line, "Before=") && strings.Contains(line, ".socket") {
			t.Errorf("%swant no socket in it", line)
		}
	}
	if !strings.Contains(unit, "\nAfter=regenerate_ssh_host_keys.service sshd-keygen.service\n") {
		t.Errorf("the unit runs beside the vendor's:\n%s", unit)
	}
}

// TestInitOrder: services that throw away all rules of the packet filter when they start
// come before the one that makes a routing controller's rules, and all come before the
// network.
func TestInitOrder(t *testing.T) {
	s, _ := stock(rootfs.NetworkManager)
	unit := s.file("usr/lib/systemd/system/clusterctrl-init.service")
	for _, want := range []string{"\nAfter=nftables.service netfilter-persistent.service ufw.service\n", "\nBefore=network-pre.target\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("no %q in\n%s", want, unit)
		}
	}
}

// TestPresets: units stay as the role wants them when systemd applies presets to all
// units, and when it only enables units, as it does where /etc/machine-id says that
// nobody has booted the image.
func TestPresets(t *testing.T) {
	s, image := controllerImage(t, rootfs.NetworkManager)
	for _, role := range []node.Role{node.CBridge, node.CNAT, node.ID(7).Role()} {
		branded := rootfs.NewOverlay(image)
		if err := edit.Apply(branded, brandEdits(s, role)); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"--preset-mode=full preset-all", "--preset-mode=enable-only preset-all", "preset clusterctrl-composite.service"} {
			root := t.TempDir()
			if err := os.CopyFS(root, branded); err != nil {
				t.Fatal(err)
			}
			before := enabledIn(t, root)
			out, err := exec.Command("systemctl", append([]string{"--root=" + root}, strings.Fields(command)...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v (apt-get install systemd)", out, err)
			}
			after := enabledIn(t, root)
			if after != before {
				t.Errorf("%v, %s: enabled by presets:\n%s", role, command, difference(after, before))
			}
		}
	}
}

// enabledIn lists the links by which units are started, except for the NFS server's,
// which are the owner's choice.
func enabledIn(t *testing.T, root string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*"))
	if err != nil || len(names) == 0 {
		t.Fatal(err, "nothing is enabled")
	}
	names = slices.DeleteFunc(names, func(name string) bool { return filepath.Base(name) == nfsUnit })
	return strings.ReplaceAll(strings.Join(names, "\n"), root, "")
}
