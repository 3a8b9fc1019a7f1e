package usbroot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/gadget"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newRoot is where the system is mounted before it becomes the root.
const newRoot = "/mnt"

// Main is /init, args its arguments. It returns only if something went wrong, and
// then the machine is about to restart: the node asks for its boot files anew.
func Main(args []string) error {
	err := run(args)
	say("%v; restarting", err)
	unix.Sync()
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART))
}

func run(args []string) error {
	if err := initramfs.Start(); err != nil {
		return err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	p, err := ParseCommandLine(string(line))
	if err != nil {
		return err
	}
	if err := startGadget(p); err != nil {
		return err
	}
	say("%v over %s, root on %v", p.ID, p.Gadget, p.Server)
	if err := startNetwork(p); err != nil {
		return err
	}
	if err := mountRoot(p); err != nil {
		return err
	}
	return initramfs.SwitchRoot(newRoot, p.Init, args[1:])
}

// say writes a line to the kernel's console and to the serial port of the gadget,
// if there is one and somebody listens.
func say(format string, values ...any) {
	line := fmt.Sprintf("clusterctrl: "+format+"\r\n", values...)
	for _, name := range []string{"/dev/console", "/dev/ttyGS0"} {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_, _ = unix.Write(fd, []byte(line)) // a console that takes nothing is no obstacle
		unix.Close(fd)
	}
}

// startGadget makes the node a USB device. The kernel knows a device controller as
// soon as its driver is there, which the initramfs has loaded.
func startGadget(p Plan) error {
	if err := os.MkdirAll(filepath.Dir(node.SettingsFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(node.SettingsFile, []byte(p.settings()), 0o644); err != nil {
		return err
	}
	report, err := gadget.Start(context.Background(), gadget.Options{Wait: time.Minute})
	if err != nil {
		return err
	}
	say("%v", report)
	return nil
}

// startNetwork brings up the gadget's network card, and on it the VLAN over which
// the controller gives out systems, with the node's fixed address.
func startNetwork(p Plan) error {
	card, err := netlink.LinkByName(node.GadgetLink)
	if err != nil {
		return fmt.Errorf("%s: %w", node.GadgetLink, err)
	}
	if err := netlink.LinkSetUp(card); err != nil {
		return fmt.Errorf("%s up: %w", node.GadgetLink, err)
	}
	vlan := &netlink.Vlan{
		LinkAttrs: netlink.LinkAttrs{Name: node.NFSLink, ParentIndex: card.Attrs().Index, MTU: node.NFSMTU},
		VlanId:    node.NFSVLAN,
	}
	if err := netlink.LinkAdd(vlan); err != nil {
		return fmt.Errorf("add %s (8021q): %w", node.NFSLink, err)
	}
	bits := node.NFSNet.Bits()
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: p.ID.NFSAddr().AsSlice(), Mask: net.CIDRMask(bits, 32)},
		Flags: unix.IFA_F_NOPREFIXROUTE, // its route is below, with a metric
	}
	if err := netlink.AddrAdd(vlan, address); err != nil {
		return fmt.Errorf("%v on %s: %w", p.ID.NFSAddr(), node.NFSLink, err)
	}
	if err := netlink.LinkSetUp(vlan); err != nil {
		return fmt.Errorf("%s up: %w", node.NFSLink, err)
	}
	route := &netlink.Route{
		LinkIndex: vlan.Attrs().Index, Scope: netlink.SCOPE_LINK, Priority: node.NFSMetric,
		Dst: &net.IPNet{IP: node.NFSNet.Addr().AsSlice(), Mask: net.CIDRMask(bits, 32)},
		Src: p.ID.NFSAddr().AsSlice(),
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route to %v: %w", node.NFSNet, err)
	}
	return awaitCarrier(node.NFSLink)
}

// awaitCarrier returns once the controller has taken the cable's end up. There is
// no limit: a controller that restarts comes back at some time.
func awaitCarrier(name string) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return fmt.Errorf("listen to the kernel's links: %w", err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if hasCarrier(link) {
		return nil
	}
	say("%s: waiting for the controller", name)
	for u := range updates {
		if u.Attrs().Name == name && hasCarrier(u.Link) {
			return nil
		}
	}
	return fmt.Errorf("%s: the kernel tells no more of its links", name)
}

func hasCarrier(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 }

// Where an NFS server listens. Version 4 needs its own port alone.
const (
	nfsPort     = 2049
	rpcbindPort = 111
)

// tries bounds how often the root is asked for before the node starts anew, which
// is every few minutes at worst.
const tries = 40

// mountRoot mounts the system. A server that does not answer yet is asked again.
func mountRoot(p Plan) error {
	var last error
	for try := 1; try <= tries; try++ {
		version, err := mountOnce(p)
		if err == nil {
			say("mounted %v:%s (NFS %s)", p.Server, p.Root, version)
			return nil
		}
		if last == nil || err.Error() != last.Error() {
			say("%v; trying again, %d times at most", err, tries-try)
		}
		last = err
		time.Sleep(pause) // nothing tells when a server that refused will be ready
	}
	return last
}

// pause is between two tries.
const pause = 3 * time.Second

// mountOnce tries each version of NFS, and returns the one that the server has.
func mountOnce(p Plan) (version string, err error) {
	if err := listens(p.Server, nfsPort); err != nil {
		return "", err
	}
	var flags uintptr = unix.MS_NOATIME
	if !p.Writable {
		flags |= unix.MS_RDONLY
	}
	source := p.Server.String() + ":" + p.Root
	var errs []error
	for _, version := range versions {
		if version == "3" {
			if err := listens(p.Server, rpcbindPort); err != nil {
				errs = append(errs, err)
				break
			}
		}
		err := unix.Mount(source, newRoot, "nfs", flags, p.options(version))
		if err == nil {
			return version, nil
		}
		errs = append(errs, fmt.Errorf("mount %s, NFS %s: %w", source, version, reason(err)))
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) {
			break // another version would say the same
		}
	}
	return "", errors.Join(errs...)
}

// reason adds what the kernel's answers mean for an NFS root.
func reason(err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: the server exports it to other addresses, or not at all", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the server has no such directory", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this kernel has no NFS", err)
	}
	return err
}

// listens fails, with the reason, if nobody listens on a server's port.
func listens(server netip.Addr, port int) error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(server.String(), strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}
