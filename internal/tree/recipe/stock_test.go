package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
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
