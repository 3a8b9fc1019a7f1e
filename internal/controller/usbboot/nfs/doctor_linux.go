package nfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/linux/kmod"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// A Finding is a thing that nodes without cards need, and what is wrong with it.
type Finding struct {
	About string `json:"about"`
	// Problem is what is wrong, empty if nothing is; Remedy says how to mend that.
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	// Maybe is set if nodes may start in spite of the problem.
	Maybe bool `json:"maybe,omitempty"`
}

// A Doctor looks at a controller through its file system, which is at Base, usually "/".
type Doctor struct {
	Base     string
	Firmware string // the directory that the setting BOOTCODE names, empty for none
	// Links are the known USB paths of nodes.
	Links map[node.ID]string
	// Disks says that there are nodes whose systems are on disks, which need no NFS server.
	Disks bool
	// HasAddr reports whether an interface has an address.
	HasAddr func(link, addr string) bool
}

func (d Doctor) path(name string) string { return filepath.Join(d.Base, name) }

func (d Doctor) has(name string) bool {
	_, err := os.Stat(d.path(name))
	return err == nil
}

// Look returns a finding for each thing that the nodes ids need to start from their roots
// in r.
func (d Doctor) Look(r *Roots, ids []node.ID) []Finding {
	all := []Finding{d.server(ids), d.exports(ids), d.bridge(), d.vlan(), d.service(), d.bootcode()}
	for _, id := range ids {
		all = append(all, d.root(r, id)...)
	}
	return all
}

// ServerInstall is the command that installs Debian's NFS server, which then starts.
const ServerInstall = "sudo apt install nfs-kernel-server"

// HasServer tells whether the programs of an NFS server are installed.
func (d Doctor) HasServer() bool { return d.has("usr/sbin/rpc.mountd") }

func (d Doctor) server(ids []node.ID) Finding {
	f := Finding{About: "NFS server", Maybe: len(ids) == 0 && d.Disks}
	threads, _ := os.ReadFile(d.path("proc/fs/nfsd/threads"))
	switch {
	case !d.HasServer():
		f.Problem, f.Remedy = "it is not installed", ServerInstall
	case strings.Trim(string(threads), "0 \n") == "":
		f.Problem, f.Remedy = "it does not run", "sudo systemctl enable --now nfs-server"
	}
	return f
}

func (d Doctor) exports(ids []node.ID) Finding {
	f := Finding{About: "exports"}
	text, err := os.ReadFile(d.path("etc/exports"))
	if err != nil {
		f.Problem, f.Remedy = err.Error(), "sudo clusterctrl reconfig cbridge --root /, or cnat"
		return f
	}
	for _, id := range ids {
		want := fmt.Sprintf("%s %v(", id.NFSRoot(), id.NFSAddr())
		there := slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool {
			line = strings.Join(strings.Fields(line), " ")
			return strings.HasPrefix(line, want) && strings.Contains(line, "no_root_squash")
		})
		if !there {
			f.Problem = fmt.Sprintf("/etc/exports does not give %v its root", id)
			f.Remedy = fmt.Sprintf("add the line: %srw,sync,no_subtree_check,no_root_squash) and type: sudo exportfs -ra", want)
			return f
		}
	}
	return f
}

func (d Doctor) bridge() Finding {
	f := Finding{About: "bridge " + node.InternalBridge}
	switch {
	case !d.has("sys/class/net/" + node.InternalBridge):
		f.Problem, f.Remedy = "it is not there", "restart the controller's network, or the controller"
	case !d.HasAddr(node.InternalBridge, node.ControllerNFSAddr.String()):
		f.Problem, f.Remedy = fmt.Sprintf("it lacks the address %v", node.ControllerNFSAddr), "restart the controller's network, or the controller"
	}
	return f
}

// vlan asks for the module by which the kernel knows VLANs.
func (d Doctor) vlan() Finding {
	f := Finding{About: "VLANs"}
	if d.has("proc/net/vlan/config") {
		return f
	}
	dir, err := kmod.Dir()
	if err == nil {
		_, err = initramfs.LoadOrder(os.DirFS(d.path(dir)), []string{"8021q"})
	}
	if err != nil {
		f.Problem, f.Remedy = "this kernel has none: "+err.Error(), "install the kernel of Raspberry Pi OS, and restart"
	}
	return f
}

// Unit is the service that gives out boot files.
const Unit = "clusterctrl-rpiboot.service"

func (d Doctor) service() Finding {
	f := Finding{About: "service of boot files"}
	if _, err := os.Lstat(d.path("etc/systemd/system/multi-user.target.wants/" + Unit)); err != nil {
		f.Problem, f.Remedy = "it is off", "sudo systemctl enable --now "+Unit
	}
	return f
}

// bootcode is the first file that a node asks for.
func (d Doctor) bootcode() Finding {
	f := Finding{About: "bootcode.bin"}
	dir := node.RPIBootDir
	if d.Firmware != "" {
		dir = d.Firmware
	}
	info, err := os.Stat(d.path(path.Join(dir, "bootcode.bin")))
	switch {
	case err != nil:
		f.Problem = "no " + path.Join(dir, "bootcode.bin")
	case !info.Mode().IsRegular() || info.Size() == 0:
		f.Problem = path.Join(dir, "bootcode.bin") + " is no file, or empty"
	default:
		return f
	}
	f.Remedy = "link it to the firmware's, such as /boot/firmware/bootcode.bin (package raspi-firmware), or name a directory that has it by BOOTCODE in " + node.SettingsFile
	return f
}

// root looks at one node's root, the link to it and its boot files.
func (d Doctor) root(r *Roots, id node.ID) []Finding {
	tree, err := r.Root(id)
	if err != nil {
		return []Finding{{About: id.String(), Problem: err.Error(), Remedy: fmt.Sprintf("sudo clusterctrl usbboot add %v ARCHIVE --force", id)}}
	}
	defer tree.Close()
	boot, err := rootfs.BootDir(tree)
	if err != nil {
		return []Finding{{About: id.String(), Problem: err.Error(), Remedy: fmt.Sprintf("sudo clusterctrl usbboot add %v ARCHIVE --force", id)}}
	}
	return []Finding{d.identity(tree, id, boot), d.files(tree, id, boot), d.firmware(tree, id, boot), d.link(id, boot)}
}

// identity looks whether the command line in a root names that root.
func (d Doctor) identity(tree fs.FS, id node.ID, boot string) Finding {
	f := Finding{About: id.String() + " identity"}
	text, err := rootfs.ReadText(tree, path.Join(boot, rootfs.CommandLine))
	words := strings.Fields(string(text))
	own := func(w string) bool {
		return strings.HasPrefix(w, "nfsroot=") && strings.HasSuffix(strings.Split(w, ",")[0], ":"+id.NFSRoot())
	}
	if err != nil || !slices.ContainsFunc(words, own) {
		f.Problem, f.Remedy = "the command line in its root does not name that root", fmt.Sprintf("sudo clusterctrl usbboot init %s", id.Role().Number())
	}
	return f
}

// files looks for the files that start.elf asks for.
func (d Doctor) files(tree fs.FS, id node.ID, boot string) Finding {
	f := Finding{About: id.String() + " boot files"}
	var missing []string
	for _, pattern := range []string{"config.txt", "kernel*.img", "initramfs*", "*.dtb"} {
		if found, _ := fs.Glob(tree, path.Join(boot, pattern)); len(found) == 0 {
			missing = append(missing, pattern)
		}
	}
	if len(missing) > 0 {
		f.Problem = "missing: " + strings.Join(missing, " ")
		f.Remedy = fmt.Sprintf("sudo clusterctrl usbboot add %v ARCHIVE --force", id)
	}
	return f
}

// firmware looks for start.elf, in the directory that rpiboot takes it from, and at its age.
func (d Doctor) firmware(tree fs.FS, id node.ID, boot string) Finding {
	f := Finding{About: id.String() + " firmware"}
	files, err := fs.Sub(tree, boot)
	dir := path.Join(id.NFSRoot(), boot)
	if d.Firmware != "" {
		files, err, dir = os.DirFS(d.path(d.Firmware)), nil, d.Firmware
	}
	if err == nil {
		_, err = fs.Stat(files, "start.elf")
	}
	if err != nil {
		f.Problem, f.Remedy = "no start.elf in "+dir, "copy the firmware of Raspberry Pi OS (package raspi-firmware) there: bootcode.bin, start*.elf, fixup*.dat"
		return f
	}
	built, err := FirmwareDate(files, "start.elf")
	if err == nil && built.After(LastForZero2W) {
		f.Maybe = true
		f.Problem = fmt.Sprintf("firmware of %s may not start a Zero 2 W over USB", built.Format("2006-01-02"))
		f.Remedy = fmt.Sprintf("put bootcode.bin, start*.elf and fixup*.dat of %s into a directory, and name it by BOOTCODE in %s", LastForZero2W.Format("2006-01-02"), node.SettingsFile)
	}
	return f
}

// link looks at the link by which rpiboot finds the node's boot files.
func (d Doctor) link(id node.ID, boot string) Finding {
	f := Finding{About: id.String() + " link"}
	usbPath := d.Links[id]
	if usbPath == "" {
		f.Maybe = true
		f.Problem, f.Remedy = "its USB path is not known", "plug the node in, or set CLUSTERHATV1 for a ClusterHAT v1, and type: sudo clusterctrl init"
		return f
	}
	name := path.Join(node.RPIBootDir, usbPath)
	want := path.Join(id.NFSRoot(), boot)
	if target, err := os.Readlink(d.path(name)); err != nil || target != want {
		f.Problem, f.Remedy = fmt.Sprintf("%s does not lead to %s", name, want), fmt.Sprintf("sudo clusterctrl usbboot init %s", id.Role().Number())
	}
	return f
}
