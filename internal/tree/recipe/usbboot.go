package recipe

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// DefaultUSBBootGadget is the network card of a node whose root comes over it: with
// an RNDIS one, NFS showed pings of twelve seconds and lost connections.
const DefaultUSBBootGadget = node.ECM

// USBBoot returns the edits that make a tree the NFS root of a node without a card,
// or of [node.Unconfigured]. It may have been a controller's, a node's, or the NFS root
// of another node, whose identity it then gives up.
func USBBoot(s System, id node.ID) []edit.Edit {
	edits := s.node(id)
	edits = append(edits, s.identity(id.Role())...)
	for _, unit := range cardUnits {
		edits = append(edits, edit.MaskUnit{Unit: unit})
	}
	if s.CloudInit {
		edits = append(edits, edit.WriteFile{Name: "etc/cloud/cloud.cfg.d/99-clusterctrl-usbboot.cfg", Data: keepSize, Perm: 0o644})
	}
	edits = append(edits, kernelHooks()...)
	return append(edits,
		createSettings{},
		newIdentity{s.Release, id},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "TYPE", Value: node.USBBootType},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "ID", Value: id.Role().Number()},
		// A network that stops before the root is unmounted hangs the shutdown. That of
		// the root is NetworkManager's in no case.
		edit.WriteFile{Name: "etc/systemd/system/networking.service.d/clusterctrl.conf", Data: keepNetworking, Perm: 0o644},
		edit.WriteFile{Name: "etc/NetworkManager/conf.d/90-clusterctrl.conf", Data: keepNFSLink, Perm: 0o644},
		nfsBootConfig{s.BootDir, s.Release},
		nfsTable{s.BootDir, id},
		nfsCommandLine{s.BootDir, id},
	)
}

// NFSArchive returns the edits that make a controller's image the NFS root of a node
// that has no number yet, with s.Gadget as its network card. initramfs are the
// [Kernel.Initramfs] files of its kernels, program is what makes them anew.
func NFSArchive(s System, initramfs map[string][]byte, program []byte) []edit.Edit {
	edits := []edit.Edit{
		edit.WriteFile{Name: inTree(node.USBRootPath), Data: string(program), Perm: 0o755},
		edit.Setting{Name: settingsTemplate, Key: "GADGET", Value: string(s.Gadget)},
		createSettings{},
		edit.Setting{Name: inTree(node.SettingsFile), Key: "GADGET", Value: string(s.Gadget)},
	}
	for _, name := range slices.Sorted(maps.Keys(initramfs)) {
		edits = append(edits, edit.WriteFile{Name: path.Join(s.BootDir, name), Data: string(initramfs[name]), Perm: 0o755})
	}
	return append(edits, USBBoot(s, node.Unconfigured)...)
}

// cardUnits are units of the vendor's that are for a root on a card: they grow its file
// system, or swap to a file, which none in NFS can be.
var cardUnits = []string{"rpi-resize.service", "resize2fs_once.service", "dphys-swapfile.service"}

const keepSize = `# Written by clusterctrl: the root is a directory of the controller.
growpart: {mode: "off"}
resize_rootfs: false
`

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

// nfsBootConfig is [bootConfig] for a node without a card. From Bookworm on, firmware
// finds the initramfs of a kernel by its name. Older firmware is told for each model.
type nfsBootConfig struct{ bootDir, release string }

func (n nfsBootConfig) String() string { return "start from an initramfs, as a USB device" }

// models are sections of config.txt, with the initramfs of the kernels that each model
// may start, the vendor's choice first. A Zero 2 W is in the section of all Zeros, too.
var models = []struct {
	section   string
	initramfs []string
}{
	{"pi0", []string{"initramfs"}},
	{"pi1", []string{"initramfs"}},
	{"pi2", []string{"initramfs7", "initramfs8"}},
	{"pi3", []string{"initramfs7", "initramfs8"}},
	{"pi02", []string{"initramfs7", "initramfs8"}},
	{"pi4", []string{"initramfs7l", "initramfs8"}},
}

func (n nfsBootConfig) Apply(tree rootfs.Tree) error {
	lines := "auto_initramfs=1\n"
	if n.release == "buster" || n.release == "bullseye" {
		lines = ""
		for _, m := range models {
			for _, name := range m.initramfs {
				if _, err := tree.Stat(path.Join(n.bootDir, name)); err == nil {
					lines += fmt.Sprintf("[%s]\ninitramfs %s followkernel\n", m.section, name)
					break
				}
			}
		}
		lines += "[all]\n"
	}
	config := bootConfig(n.bootDir, node.MinID.Role())
	config.Text += lines
	config.Was += lines
	return config.Apply(tree)
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
