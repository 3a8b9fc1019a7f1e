package recipe

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// DefaultUSBBootGadget is the network card of a node whose root comes over it: with
// an RNDIS one, NFS showed pings of twelve seconds and lost connections.
const DefaultUSBBootGadget = node.ECM

// Unbranded is the number of a root that is nobody's yet.
const Unbranded node.ID = 253

// USBBoot returns the edits that make a tree the NFS root of a node without a card,
// or of [Unbranded]. It may have been a controller's, a node's, or the NFS root of
// another node, whose identity it then gives up.
func USBBoot(s System, id node.ID) []edit.Edit {
	edits := s.node(id)
	edits = append(edits, s.identity(id.Role())...)
	return append(edits,
		createSettings{},
		newIdentity{s.Release, id},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "TYPE", Value: node.USBBootType},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "ID", Value: id.Role().Number()},
		// A network that stops before the root is unmounted hangs the shutdown. That of
		// the root is NetworkManager's in no case.
		edit.WriteFile{Name: "etc/systemd/system/networking.service.d/clusterctrl.conf", Data: keepNetworking, Perm: 0o644},
		edit.WriteFile{Name: "etc/NetworkManager/conf.d/90-clusterctrl.conf", Data: keepNFSLink, Perm: 0o644},
		bootConfig(s.BootDir, id.Role()),
		nfsTable{s.BootDir, id},
		nfsCommandLine{s.BootDir, id},
	)
}

const keepNetworking = `# Written by clusterctrl: the root file system is reached over this network, so
# nothing takes it down.
[Service]
ExecStop=
`

var keepNFSLink = fmt.Sprintf(`# Written by clusterctrl: the root file system is reached over this link.
[keyfile]
unmanaged-devices=interface-name:%s
`, node.NFSLink)

// newIdentity takes out of a tree what makes a machine known to others, unless the
// tree is that of the node already.
type newIdentity struct {
	release string
	id      node.ID
}

func (n newIdentity) String() string {
	return "forget the machine id and the SSH host keys of another node"
}

func (n newIdentity) Apply(tree rootfs.Tree) error {
	text, err := rootfs.ReadText(tree, inTree(node.SettingsFile))
	if err != nil {
		return err
	}
	kind, err := defaults.Text(text).Value("TYPE")
	if err != nil {
		return err
	}
	number, err := defaults.Text(text).Value("ID")
	if err != nil {
		return err
	}
	if kind == node.USBBootType && number == n.id.Role().Number() {
		return nil
	}
	if err := (edit.RemoveMatching{Pattern: hostKeys}).Apply(tree); err != nil {
		return err
	}
	return forgetMachine{n.release}.Apply(tree)
}

// nfsTable is the fstab(5) of an NFS root: the kernel's command line says where the
// root is, which holds the boot files too.
type nfsTable struct {
	bootDir string
	id      node.ID
}

func (n nfsTable) String() string { return "mount no partition of a card" }

func (n nfsTable) Apply(tree rootfs.Tree) error {
	const name = rootfs.FSTab
	old, err := rootfs.ReadText(tree, name)
	if err != nil {
		return err
	}
	var kept []string
	for line := range strings.Lines(string(old)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && !strings.HasPrefix(fields[0], "#") && (fields[1] == "/" || fields[1] == "/boot" || strings.HasPrefix(fields[1], "/boot/")) {
			continue
		}
		kept = append(kept, strings.TrimSuffix(line, "\n")+"\n")
	}
	if n.bootDir != "boot" {
		kept = append(kept, fmt.Sprintf("%v:%s/%s /%[3]s nfs defaults 0 0\n", node.ControllerNFSAddr, n.id.NFSRoot(), n.bootDir))
	}
	text := strings.Join(kept, "")
	if text == string(old) {
		return nil
	}
	return tree.WriteFile(name, []byte(text), 0o644)
}

// nfsCommandLine has the kernel take its root from the controller.
type nfsCommandLine struct {
	bootDir string
	id      node.ID
}

func (n nfsCommandLine) String() string {
	return fmt.Sprintf("mount the root of %v from the controller", n.id)
}

// Words of a kernel's command line that are about a root on a card, or on another
// one than this node's.
var rootWords = []string{"root", "rootfstype", "rootflags", "nfsroot", "ip", "ro", "rw", "fsck.repair", "fsck.mode", "init", vendorResizeWord, firstBootMark, node.GadgetArg}

func (n nfsCommandLine) Apply(tree rootfs.Tree) error {
	name := path.Join(n.bootDir, rootfs.CommandLine)
	words, text, err := readCommandLine(tree, name)
	if err != nil {
		return err
	}
	gadget, err := usbBootGadget(tree)
	if err != nil {
		return err
	}
	words, _ = cutRole(words)
	kept := slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		key, _, _ := strings.Cut(w, "=")
		return slices.Contains(rootWords, key) || strings.HasPrefix(w, "console=ttyGS0")
	})
	kept = append(kept,
		"root=/dev/nfs",
		fmt.Sprintf("nfsroot=%v:%s", node.ControllerNFSAddr, n.id.NFSRoot()),
		"rw",
		fmt.Sprintf("ip=%v:%v::255.255.255.0:%v:%s:static", n.id.NFSAddr(), node.ControllerNFSAddr, n.id, node.NFSLink),
		"fsck.mode=skip",
	)
	if gadget != DefaultUSBBootGadget {
		kept = append(kept, node.GadgetArg+"="+string(gadget))
	}
	return writeCommandLine(tree, name, text, kept.String())
}

// usbBootGadget is the network card that the settings of a tree ask for.
func usbBootGadget(tree rootfs.Tree) (node.Gadget, error) {
	name := inTree(node.SettingsFile)
	text, err := rootfs.ReadText(tree, name)
	if err != nil {
		return "", err
	}
	value, err := defaults.Text(text).Value("GADGET")
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	switch g := node.Gadget(value); {
	case value == "":
		return DefaultUSBBootGadget, nil
	case slices.Contains(node.Gadgets, g):
		return g, nil
	}
	return "", fmt.Errorf("%s: GADGET=%s: want one of %v", name, value, node.Gadgets)
}

// Kernels returns the releases of the kernels that a tree has modules of, by the name
// of the initramfs that each wants in the boot partition.
func Kernels(tree fs.FS) (map[string]string, error) {
	dirs, err := fs.ReadDir(tree, "lib/modules")
	if err != nil {
		return nil, err
	}
	kernels := map[string]string{}
	for _, d := range dirs {
		if _, err := fs.Stat(tree, path.Join("lib/modules", d.Name(), "kernel")); err != nil {
			continue // what a removed kernel left behind
		}
		name := initramfsName(d.Name())
		if other, ok := kernels[name]; !ok || isNewer(d.Name(), other) {
			kernels[name] = d.Name()
		}
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("lib/modules: no kernel's modules")
	}
	return kernels, nil
}

// initramfsName is what firmware looks for beside each flavour of the vendor's kernel
// where config.txt says auto_initramfs=1.
func initramfsName(release string) string {
	flavour := release[strings.LastIndexAny(release, "-+")+1:]
	if flavour == "" { // such as 6.1.21-v8+
		base := strings.TrimRight(release, "+")
		flavour = base[strings.LastIndex(base, "-")+1:]
	}
	switch flavour {
	case "v7":
		return "initramfs7"
	case "v7l":
		return "initramfs7l"
	case "v8", "arm64":
		return "initramfs8"
	case "2712":
		return "initramfs_2712"
	}
	return "initramfs"
}

// isNewer reports whether a kernel's release is newer than another: numbers count as
// numbers, so that 6.12.9 is before 6.12.25.
func isNewer(release, other string) bool {
	a, b := numbers(release), numbers(other)
	if order := slices.Compare(a, b); order != 0 {
		return order > 0
	}
	return release > other
}

func numbers(release string) []int {
	var all []int
	for _, digits := range strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(digits)
		if err == nil {
			all = append(all, n)
		}
	}
	return all
}
