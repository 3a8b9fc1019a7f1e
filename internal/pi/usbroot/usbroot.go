// Package usbroot is the first program of a node that has no card, /init of its
// initramfs. The node's kernel came over USB; its system comes over the same cable.
// The package builds the node's gadget, brings up the VLAN behind it, mounts the
// system that the kernel's command line names, and becomes the system's first
// program. The system is a directory of an NFS server, or a disk of the controller's,
// a network block device with the partitions of a card. Of a disk, a keeper stays
// behind: see [Main].
//
// What goes wrong is said on the kernel's console and on the serial port of the
// gadget, with what is tried next.
package usbroot

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/node"
)

// A Plan is what the kernel's command line asks for.
type Plan struct {
	ID       node.ID
	Gadget   node.Gadget
	Server   netip.Addr // of the root
	Root     string     // its directory there; empty if the root is on the node's disk
	PARTUUID string     // of the root's partition on the disk
	Type     string     // of the file system there
	Writable bool
	Init     string // the system's first program
}

// defaultGadget is ECM: NFS over RNDIS has shown pings of twelve seconds.
const defaultGadget = node.ECM

// defaultInit is what the kernel would start, too.
const defaultInit = "/sbin/init"

// defaultType is that of all roots of Raspberry Pi OS.
const defaultType = "ext4"

// ParseCommandLine reads the words nfsroot=, or [node.DiskArg], root= and rootfstype=,
// and ip=, init=, ro, rw and [node.GadgetArg] of a kernel's command line. The last of
// each counts. What it does not understand of these is an error: a node never guesses
// its number.
func ParseCommandLine(line string) (Plan, error) {
	p := Plan{Gadget: defaultGadget, Init: defaultInit}
	words := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		words[key] = value
		if key == "ro" || key == "rw" {
			p.Writable = key == "rw"
		}
	}
	if init, ok := words["init"]; ok {
		p.Init = init
	}
	if gadget, ok := words[node.GadgetArg]; ok {
		p.Gadget = node.Gadget(gadget)
	}
	if !slices.Contains(node.Gadgets, p.Gadget) {
		return Plan{}, fmt.Errorf("%s=%s: want one of %v", node.GadgetArg, p.Gadget, node.Gadgets)
	}
	var err error
	if disk, ok := words[node.DiskArg]; ok {
		err = p.parseDisk(disk, words)
	} else {
		err = p.parseRoot(words["nfsroot"], words["ip"])
	}
	if err != nil {
		return Plan{}, err
	}
	return p, nil
}

// parseRoot reads SERVER:DIRECTORY[,OPTIONS], where the directory is named as the
// node (kernel documentation, admin-guide/nfs/nfsroot.rst).
func (p *Plan) parseRoot(value, ip string) error {
	want := fmt.Sprintf("want %v:%s/p<n>", node.ControllerNFSAddr, node.NFSRoots)
	value, _, _ = strings.Cut(value, ",")
	host, dir, ok := strings.Cut(value, ":")
	server, err := netip.ParseAddr(host)
	if !ok || err != nil || !path.IsAbs(dir) {
		return fmt.Errorf("nfsroot=%s: %s", value, want)
	}
	if p.ID, err = node.ParseID(path.Base(dir)); err != nil {
		return fmt.Errorf("nfsroot=%s: %w", value, err)
	}
	p.Server, p.Root = server, dir
	return p.checkAddress("nfsroot", ip)
}

// parseDisk reads SERVER/NODE, and which partition of the disk is the root. The node's
// address follows from its number: ip= may be missing, for which the kernel itself
// would wait twelve seconds in vain.
func (p *Plan) parseDisk(value string, words map[string]string) error {
	host, name, ok := strings.Cut(value, "/")
	server, err := netip.ParseAddr(host)
	if !ok || err != nil {
		return fmt.Errorf("%s=%s: want %v/p<n>", node.DiskArg, value, node.ControllerNFSAddr)
	}
	if p.ID, err = node.ParseID(name); err != nil {
		return fmt.Errorf("%s=%s: %w", node.DiskArg, value, err)
	}
	if nfs, ok := words["nfsroot"]; ok {
		return fmt.Errorf("%s=%s and nfsroot=%s: want one of them", node.DiskArg, value, nfs)
	}
	if p.PARTUUID, ok = strings.CutPrefix(words["root"], "PARTUUID="); !ok {
		return fmt.Errorf("root=%s: want PARTUUID= of a partition of the node's disk", words["root"])
	}
	p.Server, p.Type = server, cmp.Or(words["rootfstype"], defaultType)
	if ip, ok := words["ip"]; ok {
		return p.checkAddress(node.DiskArg, ip)
	}
	return nil
}

// checkAddress holds CLIENT:SERVER:GATEWAY:NETMASK:HOST:DEVICE:AUTOCONF against the
// node's number, which is from another word: two that disagree are a root that was
// copied, not branded.
func (p *Plan) checkAddress(word, value string) error {
	fields := strings.Split(value, ":")
	if len(fields) < 6 {
		return fmt.Errorf("ip=%s: want %v:%v::255.255.255.0:%v:%s:static", value, p.ID.NFSAddr(), node.ControllerNFSAddr, p.ID, node.NFSLink)
	}
	if fields[0] != p.ID.NFSAddr().String() || fields[4] != p.ID.String() || fields[5] != node.NFSLink {
		return fmt.Errorf("ip=%s: want %v, %v and %s, as %s= is that of %[3]v", value, p.ID.NFSAddr(), p.ID, node.NFSLink, word)
	}
	return nil
}

// settings is the settings file that the gadget is made by until the system's own
// is there.
func (p Plan) settings() string {
	return fmt.Sprintf("TYPE=%s\nID=%d\nGADGET=%s\n", node.USBBootType, p.ID, p.Gadget)
}

// versions are those of NFS, the best first. They are what the client of every
// kernel of Raspberry Pi OS has built in.
var versions = []string{"4.2", "4.1", "4.0", "3"}

// options are what mount(2) wants to hear of an NFS root (nfs(5)). Locks of
// version 3 are the node's own: the programs that would ask the server for them do
// not run yet.
func (p Plan) options(version string) string {
	o := fmt.Sprintf("vers=%s,proto=tcp,addr=%v", version, p.Server)
	if version == "3" {
		return o + fmt.Sprintf(",mountproto=tcp,mountaddr=%v,nolock", p.Server)
	}
	return o + fmt.Sprintf(",clientaddr=%v", p.ID.NFSAddr())
}
