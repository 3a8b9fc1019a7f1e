package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	// Say gets a line for all that happens. It may be nil.
	Say func(line string)
}

// A MemberConfig says what a machine of a virtual cluster is.
type MemberConfig struct {
	Name       string
	Image      string
	Controller bool
	Memory     int // in MiB
}

// A Rig is a virtual cluster: a controller, nodes, and the USB cable between it
// and each of them. The machines have the real thing's kernel drivers at both
// ends of the cables; what is between them is a stream of bytes.
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

// rigModel is what the machines are: the one that all that is needed is emulated
// of.
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
	return r, nil
}

func (r *Rig) nodes() []*Member {
	return slices.DeleteFunc(slices.Clone(r.members), func(m *Member) bool { return m.Controller })
}

// Members are the machines, in their order.
func (r *Rig) Members() []*Member { return r.members }

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

// Modules that a machine loads before its system is started: what is needed for
// its disk, and what a system cannot load that has no modules of this kernel.
// Those that may lack are for what not every cluster does.
var (
	diskModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "ext4", "vfat", "nls_cp437", "nls_ascii"}
	nodeModules = []string{"usbip-vudc", "libcomposite", "usb_f_rndis", "usb_f_ncm", "usb_f_ecm", "usb_f_acm"}
	hostModules = []string{"vhci-hcd", "rndis_host", "cdc_ncm", "cdc_ether", "cdc-acm", "virtio_net", "bridge", "8021q"}
	mayLack     = []string{"nls_iso8859-1", "autofs4", "nft_masq", "nft_chain_nat", "nft_ct", "nf_tables", "nf_nat"}
)

// initramfs writes that of a machine.
func (r *Rig) initramfs(name string, controller bool) (err error) {
	modules := slices.Concat(diskModules, nodeModules)
	if controller {
		modules = slices.Concat(diskModules, hostModules)
	}
	for _, module := range modules {
		if _, err := initramfs.LoadOrder(r.Kernel.Modules, []string{module}); err != nil {
			return fmt.Errorf("kernel %s: %w; give another with --kernel, such as Debian's linux-image-arm64", r.Kernel.Name, err)
		}
	}
	for _, module := range mayLack {
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
	archive := initramfs.Archive{Init: r.Init, Modules: modules}
	return errors.Join(archive.Write(f, r.Kernel.Modules), f.Close())
}

// A Member is a machine of a virtual cluster. Its methods may be called by
// several goroutines at once.
type Member struct {
	MemberConfig
	machine *Machine
	screen  screen
	power   chan struct{} // asks for the power to be switched on
	say     func(format string, args ...any)

	// Cable is that of a node, nil for a controller. It is there even if there is
	// no controller.
	Cable   *cable.Cable
	sockets []net.Listener
	serving sync.WaitGroup

	mu   sync.Mutex
	boot *Boot // nil if the machine is off
}

func (r *Rig) newMember(ctx context.Context, c MemberConfig, kernel string) (*Member, error) {
	initrd := filepath.Join(r.Dir, c.Name+".initramfs")
	if err := r.initramfs(initrd, c.Controller); err != nil {
		return nil, err
	}
	m := &Member{MemberConfig: c, power: make(chan struct{}, 1)}
	m.say = func(format string, args ...any) { r.Say(c.Name + ": " + fmt.Sprintf(format, args...)) }
	if !c.Controller {
		m.Cable = new(cable.Cable)
		m.Cable.Plug(true)
	}
	args := []string{"-m", fmt.Sprint(c.Memory)}
	if c.Controller {
		args = append(args, "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net")
	}
	machine, err := New(ctx, Config{
		Model: rigModel, Image: c.Image, Dir: r.Dir, Transcript: &m.screen, QEMU: args,
		Software: &Software{Kernel: kernel, Initramfs: initrd},
		// The names of network cards are the kernel's, as on a Pi.
		KernelArgs: []string{"net.ifnames=0"},
	})
	if err != nil {
		return nil, err
	}
	m.machine = machine
	r.running.Go(func() { m.run(ctx) })
	return m, nil
}

// portsPerDevice is how many streams a serial device of virtio has, less one that
// is a console's.
const portsPerDevice = 30

// connect lays a node's cable to a USB port of the controller, if there is one.
func (r *Rig) connect(m, controller *Member, port int) error {
	if err := m.stream(cable.Node, m.Cable, inside.NodeStream, 0); err != nil {
		return err
	}
	if controller == nil {
		return nil
	}
	return controller.stream(cable.Controller, m.Cable, fmt.Sprint(inside.ControllerStream, port), port)
}

// stream connects a machine, whenever it is on, with its side of a cable.
func (m *Member) stream(side cable.Side, c *cable.Cable, name string, n int) error {
	socket := filepath.Join(m.machine.dir, fmt.Sprint("cable", n))
	l, err := Listen(socket)
	if err != nil {
		return err
	}
	m.sockets = append(m.sockets, l)
	if n%portsPerDevice == 0 {
		m.machine.QEMU = append(m.machine.QEMU, "-device", fmt.Sprintf("virtio-serial-pci,id=serial%d,max_ports=%d", n/portsPerDevice, portsPerDevice+1))
	}
	m.machine.QEMU = append(m.machine.QEMU, "-chardev", fmt.Sprintf("socket,id=cable%d,path=%s", n, option(socket)),
		"-device", fmt.Sprintf("virtserialport,bus=serial%d.0,chardev=cable%d,name=%s", n/portsPerDevice, n, name))
	m.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			if err := c.Serve(side, conn); err != nil {
				m.say("cable: %v", err)
			}
		}
	})
	return nil
}

func (m *Member) close() error {
	err := m.machine.Close()
	for _, l := range m.sockets {
		err = errors.Join(err, l.Close())
	}
	m.serving.Wait()
	return err
}

// run starts the machine whenever it is asked to, and again when its system
// restarts, until ctx ends.
func (m *Member) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.power:
		}
		m.say("on")
		how, err := m.start(ctx)
		for ; how == Restarted; how, err = m.start(ctx) {
			m.say("restarts")
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrPanic):
			m.say("off: %v: \"clusterctrl lab console %s\" shows its last words", ErrPanic, m.Name)
		case err != nil:
			m.say("off: %v", err)
		default:
			m.say("%v", how)
		}
	}
}

// start is one boot.
func (m *Member) start(ctx context.Context) (Outcome, error) {
	b, err := m.machine.Boot(ctx)
	if err != nil {
		return 0, err
	}
	m.set(b)
	defer m.set(nil)
	return b.Wait()
}

func (m *Member) set(b *Boot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot = b
}

// IsOn reports whether the machine is on.
func (m *Member) IsOn() bool { return m.current() != nil }

func (m *Member) current() *Boot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// PowerOn switches the machine on, if it is off.
func (m *Member) PowerOn() {
	if !m.IsOn() {
		select {
		case m.power <- struct{}{}:
		default:
		}
	}
}

// Cut cuts the machine's power, if it is on.
func (m *Member) Cut() {
	if b := m.current(); b != nil {
		b.Cut() // how it ends is said by run
	}
}

// Show writes what the machine's serial console shows to w, the end of what it has
// shown already first, until w fails or ctx ends.
func (m *Member) Show(ctx context.Context, w io.Writer) error { return m.screen.show(ctx, w) }

// Write types on the machine's serial console. If the machine is off, nobody
// listens.
func (m *Member) Write(p []byte) (int, error) {
	if b := m.current(); b != nil {
		b.Write(p)
	}
	return len(p), nil
}

// A screen shows what is written to it to all who look.
type screen struct {
	mu      sync.Mutex
	shown   []byte // the end of it
	lookers map[chan []byte]bool
}

// maxShown is how much of the past those see who look.
const maxShown = 8 << 10

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = bytes.Clone(last(append(s.shown, p...), maxShown))
	for l := range s.lookers {
		select {
		case l <- bytes.Clone(p):
		default: // who does not keep up loses sight
			delete(s.lookers, l)
			close(l)
		}
	}
	return len(p), nil
}

// errSlow says that a console showed more than was taken.
var errSlow = errors.New("the console showed more than was read")

func (s *screen) show(ctx context.Context, w io.Writer) error {
	l := make(chan []byte, 1024)
	s.mu.Lock()
	if s.lookers == nil {
		s.lookers = map[chan []byte]bool{}
	}
	s.lookers[l] = true
	l <- bytes.Clone(s.shown)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lookers, l)
		s.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case text, ok := <-l:
			if !ok {
				return errSlow
			}
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
	}
}
