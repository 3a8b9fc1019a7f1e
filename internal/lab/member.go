package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"time"

	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/lab/inside"
)

// A Member is a machine of a virtual cluster. Its methods may be called by
// several goroutines at once.
type Member struct {
	MemberConfig
	machine *Machine
	screen  screen
	say     func(format string, args ...any)

	// Cable is the cable of a node, nil for a controller. A node has one even if there
	// is no controller.
	Cable   *cable.Cable
	sockets []net.Listener
	serving sync.WaitGroup

	boards []playedBoard // which lose their power with the machine

	rom *rom // of a bare node, else nil

	mu    sync.Mutex
	power bool          // whether there is any
	due   bool          // the machine has to be started: it was given power, or its button was pressed
	wake  chan struct{} // tells that due was set
	on    *run          // nil if the machine is off
	boot  *Boot         // nil if no kernel runs
}

// A run is the time from the machine's start to its end or restart.
type run struct {
	cut  context.CancelCauseFunc // with errCut: cuts the power
	over chan struct{}           // closed at the end
}

// errCut is why a run ended whose power was cut.
var errCut = errors.New("power cut")

func (r *Rig) newMember(ctx context.Context, c MemberConfig, kernel string) (*Member, error) {
	initrd := filepath.Join(r.Dir, c.Name+".initramfs")
	if err := r.initramfs(initrd, c); err != nil {
		return nil, err
	}
	m := &Member{MemberConfig: c, wake: make(chan struct{}, 1)}
	m.say = func(format string, args ...any) { r.Say(c.Name + ": " + fmt.Sprintf(format, args...)) }
	if !c.Controller {
		m.Cable = new(cable.Cable)
		m.Cable.Plug(true)
	}
	args := []string{"-m", fmt.Sprint(c.Memory)}
	if c.Controller {
		args = append(args, "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net")
	}
	config := Config{
		Model: rigModel, Image: c.Image, Dir: r.Dir, Transcript: &m.screen, QEMU: args,
		Software: &Software{Kernel: kernel, Initramfs: initrd},
		// The names of network cards are the kernel's, as on a Pi.
		KernelArgs: []string{"net.ifnames=0"},
	}
	if c.Bare { // its software comes over its cable
		config.Software, config.KernelArgs = new(Software), []string{"rdinit=" + inside.BareInit}
	}
	machine, err := New(ctx, config)
	if err != nil {
		return nil, err
	}
	m.machine = machine
	if c.Bare {
		m.rom = &rom{kernel: r.Kernel, addition: initrd, cable: m.Cable, dir: machine.dir, screen: &m.screen}
	}
	r.running.Go(func() { m.run(ctx) })
	return m, nil
}

// portsPerDevice is how many streams a serial device of virtio has, except for the one
// that is for a console.
const portsPerDevice = 30

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

// port connects a controller with its side of a cable, at one of its USB ports. kind
// is inside.ControllerStream or inside.HATStream.
func (m *Member) port(c *cable.Cable, kind string, n int) error {
	return m.stream(cable.Controller, c, fmt.Sprint(kind, n), n)
}

func (m *Member) close() error {
	err := m.machine.Close()
	for _, l := range m.sockets {
		err = errors.Join(err, l.Close())
	}
	m.serving.Wait()
	return err
}

// run starts the machine whenever that is due, and again when its system restarts,
// until ctx ends.
func (m *Member) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		for ctx.Err() == nil && m.takeDue() {
			how, err := m.runOnce(ctx)
			m.sayEnd(ctx, how, err)
		}
	}
}

// runOnce runs the machine until it is off.
func (m *Member) runOnce(ctx context.Context) (Outcome, error) {
	how, err := m.start(ctx, "on")
	for how == Restarted {
		how, err = m.start(ctx, "restarts")
	}
	return how, err
}

func (m *Member) sayEnd(ctx context.Context, how Outcome, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, ErrPanic):
		m.say("off: %v: \"clusterctrl lab console %s\" shows its last words", ErrPanic, m.Name)
	case err != nil:
		m.say("off: %v", err)
	default:
		m.say("%v", how)
	}
}

// start is one run, which is called something.
func (m *Member) start(ctx context.Context, called string) (Outcome, error) {
	ctx = m.begin(ctx)
	defer m.end()
	how, err := m.boots(ctx, called)
	if context.Cause(ctx) == errCut {
		return PowerCut, nil
	}
	return how, err
}

// boots starts the machine's kernel, which a bare node has to be given first, and waits
// for its end.
func (m *Member) boots(ctx context.Context, called string) (Outcome, error) {
	if m.rom != nil {
		m.say("%s, without a card", called)
		software, err := m.rom.load(ctx)
		if err != nil {
			return 0, err
		}
		*m.machine.Software, called = software, "has its boot files"
	}
	b, err := m.machine.Boot(ctx)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	m.boot = b
	m.mu.Unlock()
	m.say("%s", called)
	return b.Wait()
}

// begin notes that the machine is on, and cuts its power if that was lost meanwhile.
func (m *Member) begin(ctx context.Context) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cut := context.WithCancelCause(ctx)
	m.on, m.due = &run{cut, make(chan struct{})}, false
	if !m.power {
		cut(errCut)
	}
	return ctx
}

func (m *Member) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on.cut(nil)
	close(m.on.over)
	m.on, m.boot = nil, nil
}

// IsOn reports whether the machine is on.
func (m *Member) IsOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on != nil && m.power
}

func (m *Member) takeDue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	due := m.due
	m.due = false
	return due
}

// PowerOn switches the machine on, if it is off, and its boards.
func (m *Member) PowerOn() {
	m.mu.Lock()
	if m.on == nil {
		m.powerOn()
	}
	m.mu.Unlock()
	for _, played := range m.boards {
		played.PowerOn()
	}
}

func (m *Member) powerOn() {
	m.power, m.due = true, true
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Cut cuts the power of the machine, if it is on, and of its boards. It returns when the
// machine is off.
func (m *Member) Cut() {
	m.mu.Lock()
	on := m.on
	m.mu.Unlock()
	m.cut()
	for _, played := range m.boards {
		played.PowerOff()
	}
	if on != nil {
		<-on.over // how it ends is said by run
	}
}

// cut takes the machine's power at once.
func (m *Member) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.power, m.due = false, false
	if m.on != nil {
		m.on.cut(errCut)
	}
}

// switchPower switches the power of the node's machine, as its board does. A nil member
// is a node that is not there.
func (m *Member) switchPower(on bool) {
	switch {
	case m == nil:
	case !on:
		m.cut()
	default:
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.power {
			m.powerOn()
		}
	}
}

// cycleHub switches off the hub's port of the node's cable, for a time. A nil member is
// a node that is not there.
func (m *Member) cycleHub(off time.Duration) {
	if m != nil {
		m.Cable.SwitchHub(false)
		time.AfterFunc(off, func() { m.Cable.SwitchHub(true) })
	}
}

// Show writes the output of the machine's serial console to w, beginning with the end of
// the output so far, until w fails or ctx ends.
func (m *Member) Show(ctx context.Context, w io.Writer) error { return m.screen.show(ctx, w) }

// Write types on the machine's serial console. If the machine is off, the bytes are
// lost.
func (m *Member) Write(p []byte) (int, error) {
	m.mu.Lock()
	b := m.boot
	m.mu.Unlock()
	if b != nil {
		b.Write(p)
	}
	return len(p), nil
}
