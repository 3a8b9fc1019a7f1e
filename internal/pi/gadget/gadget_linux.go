package gadget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/linux/kmod"
	"clusterctrl/internal/node"
)

// Start makes the node's gadget run: complete, and bound to a device controller. It
// leaves a running gadget alone, and takes any other down before it builds the gadget
// anew. If Start fails, it leaves no gadget behind. If there is no device controller
// yet, it waits until ctx ends, or for o.Wait if that is shorter.
func Start(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	s, err := ReadSettings(o.Settings)
	if err != nil {
		return Report{}, err
	}
	if !s.IsNode() {
		return Report{Outcome: NoNode, Settings: s}, nil
	}
	if err := o.prepare(s); err != nil {
		return Report{}, err
	}
	b, unlock, err := o.builder()
	if err != nil {
		return Report{}, err
	}
	defer unlock()
	return b.start(ctx, s)
}

// Stop leaves nothing of the gadget, complete or not, whatever the settings say.
// It hangs up a user who is logged in on the serial console; a program that keeps the
// console open even then makes Stop wait, and nothing can interrupt that. Stop refuses,
// as Start does, to take down a gadget that the root file system is mounted through.
func Stop(o Options) (Report, error) {
	b, unlock, err := o.withDefaults().builder()
	if errors.Is(err, fs.ErrNotExist) { // the kernel never heard of gadgets
		return Report{Outcome: Absent}, nil
	}
	if err != nil {
		return Report{}, err
	}
	defer unlock()
	return b.stop()
}

// builder locks the directory of gadgets, so that of two programs that run at once the
// second sees what the first has done.
func (o Options) builder() (b builder, unlock func(), err error) {
	name := o.gadgets()
	dir, err := os.Open(name)
	if err != nil {
		return builder{}, nil, err
	}
	if err := flock(dir); err != nil {
		dir.Close()
		return builder{}, nil, fmt.Errorf("lock %s: %w", name, err)
	}
	b = builder{configFS(name), os.DirFS(o.UDCs), o.await, hangUp, mayUnbind}
	return b, func() { dir.Close() }, nil
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}

func (o Options) gadgets() string { return filepath.Join(o.ConfigFS, "usb_gadget") }

// prepare has the kernel ready to take gadgets with the functions of s.
func (o Options) prepare(s Settings) error {
	if err := o.load("configfs"); err != nil {
		return err
	}
	if err := mountConfigFS(o.ConfigFS); err != nil {
		return err
	}
	if err := o.load("libcomposite"); err != nil {
		return err
	}
	if _, err := os.Stat(o.gadgets()); err != nil {
		return fmt.Errorf("the kernel has no libcomposite, which USB gadgets need: %w", err)
	}
	// Where they are missing, that shows when the gadget is built.
	for _, module := range []string{"usb_f_" + string(s.Gadget), "usb_f_acm"} {
		if err := o.load(module); err != nil {
			return err
		}
	}
	if udcs, err := os.ReadDir(o.UDCs); err == nil && len(udcs) > 0 {
		return nil
	}
	return o.load("dwc2") // the device controller of a Pi
}

// load loads a module if there is such a one; if not, it may be built in.
func (o Options) load(module string) error {
	dir := o.Modules
	if dir == "" {
		var err error
		if dir, err = kmod.Dir(); err != nil {
			return err
		}
	}
	if err := kmod.Load(dir, module); !errors.Is(err, kmod.ErrNotFound) {
		return err
	}
	return nil
}

// From the kernel's linux/magic.h.
const configFSMagic = 0x62656570

func mountConfigFS(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err == nil && s.Type == configFSMagic {
		return nil
	}
	err := unix.Mount("configfs", dir, "configfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	switch err {
	case nil, unix.EBUSY: // another program was faster
		return nil
	case unix.ENOENT, unix.ENODEV: // no place for it in /sys, no such file system
		return fmt.Errorf("the kernel has no configfs, which USB gadgets need: mount it on %s: %w", dir, err)
	}
	return fmt.Errorf("mount configfs on %s: %w", dir, err)
}

// mayUnbind refuses where the root file system comes through the gadget: without it, all
// programs that read a file would wait for ever, this one too.
func mayUnbind() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if source, dir := usbBootMount(string(mounts)); dir != "" {
		return fmt.Errorf("%s is mounted on %s through the gadget: want the node shut down, not its gadget stopped", source, dir)
	}
	return nil
}

// usbBootMount returns a mount from [node.NFSNet], or of a network block device, to
// which only a gadget leads, out of the text of /proc/mounts.
func usbBootMount(mounts string) (source, dir string) {
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line) // a blank in a name is written \040
		if len(fields) < 3 {
			continue
		}
		if strings.HasPrefix(fields[0], "/dev/nbd") {
			return fields[0], fields[1]
		}
		if !strings.HasPrefix(fields[2], "nfs") {
			continue
		}
		host, _, _ := strings.Cut(fields[0], ":")
		if server, err := netip.ParseAddr(host); err == nil && node.NFSNet.Contains(server) {
			return fields[0], fields[1]
		}
	}
	return "", ""
}

// hangUp makes programs let go of the terminal of a serial port: programs that the
// terminal controls get SIGHUP, all others find the file at its end. Programs may open
// the terminal again.
func hangUp(port string) error {
	name := "/dev/ttyGS" + port
	tty, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return err
	}
	defer tty.Close()
	if err := unix.IoctlSetInt(int(tty.Fd()), unix.TIOCVHANGUP, 0); err != nil {
		return fmt.Errorf("hang up %s: %w", name, err)
	}
	return nil
}
