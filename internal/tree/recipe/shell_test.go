package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// shellFiles are what the shell scripts put over the files of a stock system: + for what
// they append, & for links.
func shellFiles(s System, nodes bool) map[string]string {
	addr, mode, otg := "172.19.181.254", "host", ""
	if nodes {
		addr, mode, otg = "172.19.181.9", "peripheral", "#"
	}
	var exports strings.Builder
	for id := node.MinID; id <= node.MaxID; id++ {
		fmt.Fprintf(&exports, "/var/lib/clusterctrl/nfs/p%d 172.19.180.%d(rw,sync,no_subtree_check,no_root_squash)\n", id, id)
	}
	files := map[string]string{
		"usr/sbin/reconfig-clusterctrl":                                            "#!/bin/bash -x\nmount /boot\n",
		"usr/sbin/composite-clusterctrl":                                           "#!/bin/bash\n",
		"usr/sbin/clusterctrl":                                                     "&/usr/share/clusterctrl/clusterctrl.py",
		"usr/sbin/clusterhat":                                                      "#!/bin/sh\n",
		"usr/sbin/usbboot-init":                                                    "#!/bin/bash\n",
		"usr/share/clusterctrl/clusterctrl.py":                                     "#!/usr/bin/python3\n",
		"usr/share/clusterctrl/python/xra1200.py":                                  "import smbus\n",
		"usr/share/clusterctrl/reconfig-usbboot":                                   "#!/bin/bash\n",
		"usr/share/clusterctrl/issue.p":                                            "theirs\n",
		"usr/lib/systemd/system/clusterctrl-init.service":                          "[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/system/clusterctrl-composite.service":                     "[Install]\nWantedBy=multi-user.target\n",
		"etc/systemd/system/clusterctrl-composite.service":                         "[Service]\n",
		"etc/systemd/system/multi-user.target.wants/clusterctrl-composite.service": "&/usr/lib/systemd/system/clusterctrl-composite.service",
		"etc/systemd/system/getty.target.wants/serial-getty@ttyGS0.service":        "&/usr/lib/systemd/system/serial-getty@.service",
		"etc/udev/rules.d/90-clusterctrl.rules":                                    "theirs\n",
		"etc/network/interfaces.d/clusterctrl":                                     "auto usb0\niface usb0 inet dhcp\n metric 1000\n",
		"etc/minicom/minirc.p7":                                                    "theirs\n",
		"etc/hostname":                                                             "p9\n",
		"etc/issue":                                                                "theirs\n",
		"etc/sysctl.conf":                                                          "+net.ipv4.ip_forward=1 # ClusterCTRL\n",
		"etc/exports":                                                              "+" + exports.String(),
		"etc/hosts.allow":                                                          "+mountd: 172.19.180.\nrpcbind: 172.19.180.\n",
		"etc/hosts.deny":                                                           "+mountd: ALL\nrpcbind: ALL\n",
		path.Join(s.BootDir, "config.txt"):                                         "+enable_uart=1\n[pi0]\ndtoverlay=i2c-gpio,bus=1,i2c_gpio_sda=2,i2c_gpio_scl=3\n[all]\ndtoverlay=dwc2,dr_mode=" + mode + "\n[pi4]\n" + otg + "otg_mode=1 # Controller only\n[cm4]\notg_mode=0\n[all]\n",
	}
	switch s.Network {
	case rootfs.IfUpDown:
		files["etc/dhcp/dhclient.conf"] = "+# START ClusterCTRL config\ntimeout 10;\ninitial-interval 2;\nlease {\n  interface \"usb0\";\n  fixed-address " + addr + "; # ClusterCTRL Px\n}\n# END ClusterCTRL config\n"
	case rootfs.DHCPCD:
		files["etc/dhcpcd.conf"] = "+reboot 15\ndenyinterfaces ethpi* ethupi* ethupi*.10 brint eth0 usb0.10\n" +
			"profile clusterctrl_fallback_usb0\nstatic ip_address=" + addr + "/24 #ClusterCTRL\nstatic routers=172.19.181.254\nstatic domain_name_servers=8.8.8.8 208.67.222.222\n" +
			"interface usb0\nfallback clusterctrl_fallback_usb0\n" +
			"profile clusterctrl_fallback_br0\nstatic ip_address=172.19.181.254/24\ninterface br0\nfallback clusterctrl_fallback_br0\n"
	}
	return files
}

// addShell puts the scripts' files into a tree.
func addShell(t *testing.T, tree rootfs.Tree, s System, nodes bool) {
	t.Helper()
	for name, text := range shellFiles(s, nodes) {
		var e edit.Edit = edit.WriteFile{Name: name, Data: text, Perm: 0o755}
		if target, ok := strings.CutPrefix(text, "&"); ok {
			e = edit.Symlink{Target: target, Name: name}
		} else if more, ok := strings.CutPrefix(text, "+"); ok {
			old, err := fs.ReadFile(tree, name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			e = edit.WriteFile{Name: name, Data: string(old) + more}
		}
		if err := e.Apply(tree); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFromShell builds from an image of the shell scripts what it builds from a stock one.
func TestFromShell(t *testing.T) {
	for _, n := range networks {
		for _, nodes := range []bool{false, true} {
			s, stock := stockTree(t, n)
			for name, text := range map[string]string{"etc/sysctl.conf": "kernel.printk=3\n", "etc/exports": "/srv 10.0.0.0/8(ro)\n", "etc/hosts.allow": "ALL: LOCAL\n", "etc/hosts.deny": "# none\n"} {
				if err := stock.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s.Gadget = node.ECM
			theirs := rootfs.NewOverlay(stock)
			addShell(t, theirs, s, nodes)
			line := strings.Replace(stockLine, "init=/usr/lib/raspberrypi-sys-mods/firstboot", "init=/usr/sbin/reconfig-clusterctrl p9", 1)
			if nodes { // it has been booted
				const own = "# mine\nTYPE=node\nID=9\nCLUSTERHAT_SIZE=2\n"
				line = strings.Replace(stockLine, " init=/usr/lib/raspberrypi-sys-mods/firstboot", "", 1)
				for _, tree := range []rootfs.Tree{stock, theirs} {
					must(t, edit.WriteFile{Name: "etc/default/clusterctrl", Data: own, Perm: 0o644}.Apply(tree))
				}
				must(t, edit.Setting{Name: "etc/default/clusterctrl", Key: "GADGET", Value: "ecm"}.Apply(stock))
				must(t, stock.WriteFile(path.Join(s.BootDir, "cmdline.txt"), []byte(line), 0o755))
			}
			must(t, theirs.WriteFile(path.Join(s.BootDir, "cmdline.txt"), []byte(line), 0o755))
			ours := rootfs.NewOverlay(stock)
			must(t, edit.Apply(theirs, Controller(s, programs)))
			must(t, edit.Apply(ours, Controller(s, programs)))
			for _, role := range []node.Role{{}, node.CBridge, node.CNAT, node.ID(7).Role()} {
				a, b := rootfs.NewOverlay(theirs), rootfs.NewOverlay(ours)
				if role != (node.Role{}) {
					must(t, edit.Apply(a, brandEdits(s, role)))
					must(t, edit.Apply(b, brandEdits(s, role)))
				}
				if got, want := withoutHarmless(contents(t, a)), withoutHarmless(contents(t, b)); got != want {
					t.Errorf("%s, of a node %t, as %v:\n%s", n, nodes, role, difference(got, want))
				}
			}
		}
	}
}

// withoutHarmless leaves out the first lines of config.txt's sections, of which more than
// one that is for all do no harm.
func withoutHarmless(text string) string { return strings.ReplaceAll(text, "[all]\n", "") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestBrandRefusesShell makes no hybrid of a tree that the shell scripts made.
func TestBrandRefusesShell(t *testing.T) {
	s, tree := stockTree(t, rootfs.NetworkManager)
	addShell(t, tree, s, true)
	before := contents(t, tree)
	err := edit.Apply(tree, brandEdits(s, node.ID(7).Role()))
	if err == nil || !strings.HasSuffix(err.Error(), `/usr/sbin/reconfig-clusterctrl is a shell script: want what "clusterctrl build" made, which takes an image of the scripts for its base`) {
		t.Errorf("got %v", err)
	}
	if after := contents(t, tree); after != before {
		t.Errorf("changed:\n%s", difference(after, before))
	}
}
