package firstboot

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"clusterctrl/internal/format/fat"
)

// A machine is the kernel of a pi. The program's end is recorded: a real one
// does not return from restart or exec.
type machine struct {
	*pi
	readOnly bool
	mounts   []string
	restarts int
	execs    []string
	said     []string
	noBoot   bool     // there is no boot partition where fstab says
	beside   []string // there are these
}

func (m *machine) step(what string, args ...any) error { return m.op("kernel: "+what, args...) }

func (m *machine) mount(dir, fstype string) (bool, error) {
	if err := m.step("mount %s", dir); err != nil {
		return false, err
	}
	m.mounts = append(m.mounts, dir)
	return true, nil
}

func (m *machine) calm() {}

func (m *machine) unmount(dir string) error {
	m.mounts = slices.DeleteFunc(m.mounts, func(d string) bool { return d == dir })
	return nil
}

func (m *machine) writable() (bool, error) { return !m.readOnly, m.step("look at /") }

func (m *machine) setWritable(w bool) error {
	if err := m.step("remount / writable=%v", w); err != nil {
		return err
	}
	m.readOnly = !w
	return nil
}

func (m *machine) openRoot() (root, error) {
	return mounted{m.pi, &m.readOnly}, m.step("open /")
}

func (m *machine) openDevice(source string) (fat.SyncDevice, int64, error) {
	if m.noBoot && !slices.Contains(m.beside, source) {
		return nil, 0, fmt.Errorf("no partition with %s", source)
	}
	return m.pi, m.Size(), m.step("open %s", source)
}

func (m *machine) besideRoot() []string { return m.beside }

func (m *machine) sync() error {
	if err := m.step("sync"); err != nil {
		return err
	}
	m.sure = len(m.history)
	return nil
}

func (m *machine) restart() error {
	if err := m.step("restart"); err != nil {
		return err
	}
	m.restarts++
	runtime.Goexit() // as the kernel, it does not return
	return nil
}

func (m *machine) exec(program string, args []string) error {
	m.execs = append(m.execs, strings.Join(args, " "))
	runtime.Goexit() // as the kernel, it does not return
	return nil
}

func (m *machine) say(text string)  { m.said = append(m.said, text) }
func (m *machine) warn(text string) { m.say("warning: " + text) }

// start lets the kernel start the program with args, and returns what became of
// it.
func (p *pi) start(args ...string) *machine {
	m := &machine{pi: p, readOnly: true}
	m.run(args...)
	return m
}

func (m *machine) run(args ...string) {
	m.faults.done, m.log = 0, nil
	end := make(chan struct{})
	go func() {
		defer close(end)
		run(m, append([]string{"/usr/sbin/reconfig-clusterctrl"}, args...))
	}()
	<-end
}
