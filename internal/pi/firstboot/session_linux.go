package firstboot

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"golang.org/x/sys/unix"
)

// A kernel is what a session asks of Linux.
type kernel interface {
	// mount mounts a file system of the given type at dir, if there is none.
	mount(dir, fstype string) (mounted bool, err error)
	unmount(dir string) error
	calm()                   // once /proc is there
	writable() (bool, error) // whether / is
	setWritable(bool) error  // of /
	openRoot() (root, error)
	// openDevice opens the device that fstab(5) calls source, and waits for it a while.
	openDevice(source string) (dev fat.SyncDevice, size int64, err error)
	besideRoot() []string // paths of the other partitions of the disk with /
	sync() error
	restart() error
	exec(program string, args []string) error
	say(string)
	warn(string) // say, also where the running system will show it
}

// Main is what reconfig-clusterctrl does as PID 1. args are those that the kernel
// started it with: its name, the role, and more words of the command line that
// the kernel does not know. It returns only if it is not PID 1, or if the
// system that it should start is not there.
func Main(args []string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("first boot runs as PID 1, not as %d: want clusterctrl reconfig", os.Getpid())
	}
	// Go ends at signals that Linux keeps from a PID 1 that does not ask for them,
	// and with PID 1 ends the kernel.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPWR)
	// If only one thread may run Go, another takes over whenever a system call takes
	// 20 µs, as each that reaches the card does, though it would have nothing to run.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	return run(linux{}, args)
}

// A session is one attempt to give the Pi its role, with what the attempt has to undo.
type session struct {
	kernel
	args    []string // without the program's name
	role    node.Role
	mounted []string // by us, in order
	remount bool     // / was made writable by us
	device  fat.SyncDevice
	card    *card // nil until / is open, its boot nil until the boot partition is
	plan    recipe.Branding
}

// A step is what a session does next, and what the console shows of it.
type step struct {
	name string
	do   func() error
}

// steps come in the order that the card's safety rests on: before the root is changed,
// the boot partition is there to take an error, and all changes are known; before the
// command line changes, all others are on the card.
func (s *session) steps() []step {
	return []step{
		{"mount /proc", func() error { defer s.calm(); return s.mountAt("/proc", "proc")() }},
		{"mount /sys", s.mountAt("/sys", "sysfs")},
		{"mount /dev", s.mountAt("/dev", "devtmpfs")},
		{"open the boot partition", s.openCard},
		{"check the role", s.checkRole},
		{"plan the changes", func() (err error) { s.plan, err = recipe.Plan(s.card, s.role); return err }},
		{"make / writable", s.makeWritable},
		{"count the attempts", s.count(maxAttempts)},
		{"change files", func() error { return s.card.prepare(s.plan.Changes, s.sync) }},
		{"flush the card", func() error { return errors.Join(s.card.remove(attemptsFile), s.sync()) }},
		{"change " + CommandLine, func() error { return s.card.commit(s.plan.Finish) }},
	}
}

// fallbackSteps make the Pi an unconfigured node, which other members of the cluster can
// reach; why is the reason. They leave out changes that cannot be made, for instance
// without the boot partition: the rest is better than nothing.
func (s *session) fallbackSteps(why error) []step {
	return []step{
		{"plan an unconfigured node", func() (err error) { s.plan.Changes, err = s.card.planFallback(why); return err }},
		{"make / writable", s.makeWritable},
		{"count the attempts", s.count(maxAttempts + 1)},
		{"change files", func() error { return s.card.prepareFallback(s.plan.Changes, s.sync) }},
		{"flush the card", func() error { return errors.Join(s.card.remove(attemptsFile), s.sync()) }},
		{"change " + CommandLine, func() error { return s.card.commitFallback() }},
	}
}

// run never lets a failure end PID 1, which would stop the kernel.
func run(k kernel, args []string) error {
	s := &session{kernel: k, args: args[min(1, len(args)):]}
	err := caught(func() error { return s.attempt(s.steps()) })
	if err == nil {
		err = caught(s.leave)
	} else if s.mustFallBack() {
		s.warn(err.Error())
		fallback := caught(func() error { return s.attempt(s.fallbackSteps(err)) })
		if fallback == nil {
			fallback = caught(s.leave)
		}
		err = errors.Join(err, fallback)
	}
	s.warn(fmt.Sprintf("%v; starting the system as it is", err))
	if s.card != nil && s.card.boot != nil {
		if err := caught(func() error { return s.card.giveUp(err) }); err != nil {
			s.warn(err.Error())
		}
	}
	return s.startSystem()
}

// mustFallBack says whether a Pi that could not be branded would disturb the cluster if
// it started unchanged: an image that was never branded is a controller's, and this Pi
// was to be a node, or its role cannot be read. A Pi that was a member before stays one.
func (s *session) mustFallBack() bool {
	return s.card != nil && !s.askedController() && !s.card.isMember()
}

func (s *session) askedController() bool {
	return s.checkRole() == nil && s.role.IsController()
}

// caught returns a panic of this program as an error.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bug: %v", p)
		}
	}()
	return f()
}

func (s *session) attempt(steps []step) error {
	for _, step := range steps {
		s.say(step.name)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *session) mountAt(dir, fstype string) func() error {
	return func() error {
		mounted, err := s.mount(dir, fstype)
		if mounted {
			s.mounted = append(s.mounted, dir)
		}
		return err
	}
}

// openCard opens the boot partition that fstab leads to. Where it leads to none,
// the one beside the root whose command line started this program is as good:
// another card may be there too, but not that one.
func (s *session) openCard() error {
	tree, err := s.openRoot()
	if err != nil {
		return err
	}
	dir, source, err := bootEntry(tree)
	s.card = &card{root: tree, bootDir: cmp.Or(dir, "boot/firmware")}
	if err == nil {
		err = s.openBoot(source)
	}
	if err == nil {
		return nil
	}
	for _, source := range s.besideRoot() {
		if s.openBoot(source) != nil {
			continue
		}
		if text, readErr := readCommandLine(s.card.boot); readErr == nil && recipe.StartsBranding(string(text)) {
			s.warn(fmt.Sprintf("%v; the boot partition is %s, whose %s started this", err, source, CommandLine))
			return nil
		}
		closeDevice(s.device)
		s.card.boot, s.device = nil, nil
	}
	return err
}

func (s *session) openBoot(source string) error {
	dev, size, err := s.openDevice(source)
	if err != nil {
		return err
	}
	boot, err := fat.OpenVolume(dev, size)
	if err != nil {
		return fmt.Errorf("%s: %w", source, errors.Join(err, closeDevice(dev)))
	}
	s.device, s.card.boot = dev, boot
	return nil
}

func closeDevice(dev fat.SyncDevice) error {
	if c, ok := dev.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

func (s *session) checkRole() (err error) {
	if len(s.args) == 0 {
		return errors.New("no role behind the program's name: want p1 to p252, cbridge or cnat")
	}
	s.role, err = node.ParseRole(s.args[0])
	return err
}

func (s *session) count(limit int) func() error {
	return func() error { return errors.Join(s.card.count(limit), s.sync()) }
}

func (s *session) makeWritable() error {
	ok, err := s.writable()
	if err != nil || ok {
		return err
	}
	s.remount = true
	return s.setWritable(true)
}

// leave restarts a finished Pi, with all data on the card. Of its errors, only that of
// the restart matters.
func (s *session) leave() error {
	s.say("restart")
	for _, err := range []error{closeDevice(s.device), s.setWritable(false)} {
		if err != nil {
			s.say(err.Error())
		}
	}
	if err := s.restart(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}

// inits are where the kernel looks for a system, in its order.
var inits = []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}

// startSystem starts the system with the arguments that the kernel gave this program.
func (s *session) startSystem() error {
	s.putBack()
	args := s.args
	if len(args) > 0 && recipe.IsArgument(args[0]) {
		args = args[1:] // the role, right or wrong
	}
	var errs []error
	for _, program := range inits {
		errs = append(errs, fmt.Errorf("%s: %w", program, s.exec(program, append([]string{program}, args...))))
	}
	return errors.Join(errs...)
}

// putBack undoes what the steps did to the running system, as far as it can.
func (s *session) putBack() {
	errs := []error{s.sync()}
	if s.device != nil {
		errs = append(errs, closeDevice(s.device))
	}
	if s.remount {
		errs = append(errs, s.setWritable(false))
	}
	for _, dir := range slices.Backward(s.mounted) {
		errs = append(errs, s.unmount(dir))
	}
	if err := errors.Join(errs...); err != nil {
		s.warn(err.Error())
	}
}
