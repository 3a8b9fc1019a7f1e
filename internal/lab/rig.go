package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/lab/inside"
	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/linux/kmod"
)

// A RigConfig says what virtual cluster to build.
type RigConfig struct {
	Members []MemberConfig // their names differ, and one of them at most is a controller's
	Dir     string         // for sockets and copies of the images; its path is short
	Kernel  Kernel         // that all machines run
	Init    []byte         // this program, for arm64 Linux

	// Supply is the source of the nodes' power; empty for one that fits the nodes.
	Supply Supply
	On     bool // all nodes are on from the start, whatever the supply

	// Say gets a line for each event. It may be nil.
	Say func(line string)
}

// A MemberConfig says what a machine of a virtual cluster is.
type MemberConfig struct {
	Name       string
	Image      string // empty for a bare node
	Bare       bool   // a node without a card: its boot files and its system come over its cable
	Controller bool
	Memory     int // in MiB
}

// A Rig is a virtual cluster: a controller, nodes, and the USB cable between it
// and each of them. The machines have the same kernel drivers as real Pis at both ends
// of the cables; between these drivers is a stream of bytes. The controller's board is
// played: the controller's writes to it switch the nodes' machines.
//
// A machine is started again whenever its system restarts, as a first boot does.
type Rig struct {
	RigConfig
	members []*Member
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	held []net.Conn // of those who wait for the end
}

// rigModel is the model of all machines: the only one of which QEMU emulates all that a
// rig needs.
const rigModel = "arm64"

// NewRig builds a cluster, all of it off and every cable plugged in.
func NewRig(ctx context.Context, c RigConfig) (_ *Rig, err error) {
	if _, err := findQEMU(models[rigModel].qemu); err != nil {
		return nil, err // or every machine would say so
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Rig{RigConfig: c, cancel: cancel}
	if r.Say == nil {
		r.Say = func(string) {}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Supply, err = c.chooseSupply(); err != nil {
		return nil, err
	}
	kernel := filepath.Join(c.Dir, "kernel")
	if err := os.WriteFile(kernel, c.Kernel.Image, 0o600); err != nil {
		return nil, err
	}
	var controller *Member
	for _, config := range c.Members {
		m, err := r.newMember(ctx, config, kernel)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", config.Name, err)
		}
		if r.members = append(r.members, m); config.Controller {
			controller = m
		}
	}
	for i, m := range r.nodes() {
		if err := r.connect(m, controller, i); err != nil {
			return nil, err
		}
	}
	if err := r.installBoards(ctx, controller); err != nil {
		return nil, err
	}
	return r, nil
}

// Start switches on the machines that have power from the start: all, or only the
// controller where its boards keep the nodes off.
func (r *Rig) Start() {
	for _, m := range r.members {
		if m.Controller || r.Supply == Mains {
			m.PowerOn()
		}
	}
}

func (r *Rig) nodes() []*Member {
	return slices.DeleteFunc(slices.Clone(r.members), func(m *Member) bool { return m.Controller })
}

// connect lays a node's cable to a USB port of the controller, if there is one.
func (r *Rig) connect(m, controller *Member, port int) error {
	if err := m.stream(cable.Node, m.Cable, inside.NodeStream, 0); err != nil {
		return err
	}
	if controller == nil {
		return nil
	}
	return controller.port(m.Cable, inside.ControllerStream, port)
}

// Member finds a machine.
func (r *Rig) Member(name string) (*Member, error) {
	var names []string
	for _, m := range r.members {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("machine %q: want %s", name, strings.Join(names, " or "))
}

// Close cuts the power of all machines and removes them.
func (r *Rig) Close() error {
	r.cancel()
	r.running.Wait()
	var all error
	for _, m := range r.members {
		all = errors.Join(all, m.close())
	}
	return all
}

// Modules that a machine loads before its system is started: modules for its disk, and
// modules that the system cannot load itself, since it has none for this kernel. Optional
// modules may be missing from a kernel, as not every cluster needs them.
var (
	diskModules     = []string{"virtio_pci", "virtio_blk", "virtio_console", "ext4", "vfat", "nls_cp437", "nls_ascii"}
	bareModules     = []string{"virtio_pci", "virtio_console", "usbip-vudc"}
	nodeModules     = []string{"usbip-vudc", "libcomposite", "usb_f_rndis", "usb_f_ncm", "usb_f_ecm", "usb_f_acm"}
	hostModules     = []string{"vhci-hcd", "rndis_host", "cdc_ncm", "cdc_ether", "cdc-acm", "virtio_net", "bridge", "8021q"}
	busModules      = []string{"i2c-tiny-usb", "i2c-dev"}
	optionalModules = []string{"nls_iso8859-1", "autofs4", "nft_masq", "nft_chain_nat", "nft_ct", "nf_tables", "nf_nat"}
)

// initramfs writes the initramfs of a machine.
func (r *Rig) initramfs(name string, c MemberConfig) (err error) {
	modules, optional, dir := slices.Concat(diskModules, nodeModules), optionalModules, ""
	switch {
	case c.Bare: // what else it needs, it is given
		modules, optional, dir = bareModules, nil, inside.BareDir
	case c.Controller:
		modules = slices.Concat(diskModules, hostModules)
		if r.Supply != Mains {
			modules = append(modules, busModules...)
		}
		if slices.ContainsFunc(r.RigConfig.Members, func(c MemberConfig) bool { return c.Bare }) {
			optional = append(slices.Clone(optional), "nfsd")
		}
	}
	for _, module := range modules {
		if _, err := initramfs.LoadOrder(r.Kernel.Modules, []string{module}); err != nil {
			return fmt.Errorf("kernel %s: %w; give another with --kernel, such as Debian's linux-image-arm64", r.Kernel.Name, err)
		}
	}
	for _, module := range optional {
		if _, err := initramfs.LoadOrder(r.Kernel.Modules, []string{module}); err == nil {
			modules = append(modules, module)
		} else if !errors.Is(err, kmod.ErrNotFound) {
			return err
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	archive := initramfs.Archive{Init: r.Init, Modules: modules, Dir: dir}
	return errors.Join(archive.Write(f, r.Kernel.Modules), f.Close())
}
