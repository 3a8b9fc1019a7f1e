package usbroot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"clusterctrl/internal/linux/nbd"
	"clusterctrl/internal/node"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// keeperName is the keeper's argv[0]. systemd lets programs whose name begins with @
// live until the machine is off (systemd.io/ROOT_STORAGE_DAEMONS).
const keeperName = "@usbroot-clusterctrl"

// timeouts of the disk. A request without an answer is asked again over a new connection.
// As long as there is none, programs wait: a controller may be off for a night.
var timeouts = nbd.Timeouts{Request: 30 * time.Second, Dead: 24 * time.Hour}

// startKeeper starts the keeper, and returns once the disk is there.
func startKeeper() error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	defer log.Close()
	keeper := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{keeperName},
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = keeper.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the keeper of the disk: %w", err)
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return fmt.Errorf("the keeper of the disk ended: %w", keeper.Wait())
	}
	return nil
}

// A keeper stays behind in the initramfs, without a file of the system's in use. It gives
// the kernel a new connection to the disk whenever one ends, and keeps the network up.
type keeper struct {
	plan  Plan
	size  uint64        // of the disk
	lost  chan struct{} // gets one when the kernel says that a connection ended
	links chan struct{} // gets one when a network link has changed
}

func keep() error {
	p, err := kernelPlan()
	if err != nil {
		return err
	}
	if err := stayInMemory(); err != nil {
		return err
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	k := &keeper{plan: p, lost: make(chan struct{}, 1), links: make(chan struct{}, 1)}
	if err := k.listen(); err != nil {
		return err
	}
	if err := insist(k.tell, k.connect); err != nil {
		return err
	}
	ready := os.NewFile(3, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	for {
		select {
		case <-k.links:
			k.mendNetwork()
		case <-k.lost:
			k.reconnect()
		}
	}
}

// stayInMemory keeps the kernel from putting the keeper's memory on the disk, and from
// ending it where memory is short.
func stayInMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return os.NewSyscallError("mlockall", err)
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
}

// tell writes a line to the kernel's log, and to the consoles as long as the keeper
// has them.
func (k *keeper) tell(format string, values ...any) {
	say(format, values...)
	fmt.Fprintf(os.Stderr, "<5>clusterctrl: "+format+"\n", values...)
}

// listen has the kernel tell of connections and links from now on.
func (k *keeper) listen() error {
	ready, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- nbd.LinkDead(func() { close(ready) }, func(int) error { signalOn(k.lost); return nil })
		for { // the kernel had more to say than there was room for
			signalOn(k.lost)
			_ = nbd.LinkDead(func() {}, func(int) error { signalOn(k.lost); return nil })
			time.Sleep(pause)
		}
	}()
	select {
	case <-ready:
	case err := <-failed:
		return err
	}
	go func() {
		for {
			updates := make(chan netlink.LinkUpdate)
			if err := netlink.LinkSubscribe(updates, nil); err != nil {
				k.tell("listen to the kernel's links: %v", err)
				time.Sleep(pause)
				continue
			}
			for u := range updates {
				if name := u.Attrs().Name; name == node.GadgetLink || name == node.NFSLink {
					signalOn(k.links)
				}
			}
			signalOn(k.links)
		}
	}()
	return nil
}

// signalOn leaves one signal in a channel that has room for one.
func signalOn(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// silence is how long the controller may leave unanswered what TCP asks, before the
// connection is taken for dead.
const silence = 30 * time.Second

// negotiate connects to the server and has it offer the node's disk.
func (k *keeper) negotiate() (*nbd.Negotiated, error) {
	dialer := net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 3, Interval: silence / 6, Count: 4},
		Control: func(_, _ string, c syscall.RawConn) error {
			var refused error
			err := c.Control(func(fd uintptr) {
				refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
			})
			return errors.Join(err, refused)
		},
	}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(k.plan.Server.String(), strconv.Itoa(node.DiskPort)))
	if err != nil {
		return nil, err
	}
	n, err := nbd.Negotiate(conn.(*net.TCPConn), k.plan.ID.String())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return n, nil
}

// connect makes the disk.
func (k *keeper) connect() error {
	n, err := k.negotiate()
	if err != nil {
		return err
	}
	k.size = n.Size()
	return n.Connect(diskIndex, timeouts)
}

// reconnect gives the kernel a new connection, however long that takes.
func (k *keeper) reconnect() {
	began := time.Now()
	k.tell("lost the connection to the disk on %v", k.plan.Server)
	var last error
	var link silentLink
	for {
		err := k.reconnectOnce()
		if err == nil {
			k.tell("connected to the disk again after %v", time.Since(began).Round(time.Second))
			return
		}
		if errors.Is(err, unix.ENOSPC) && errors.Is(last, unix.ENOSPC) {
			return // the kernel has no connection that is dead, nor was it about to have one
		}
		if last == nil || err.Error() != last.Error() {
			k.tell("%v; trying again", err)
		}
		last = err
		link.failed(k.tell, err)
		select {
		case <-k.links:
			k.mendNetwork()
		case <-time.After(pause): // nothing tells when the server is back
		}
	}
}

func (k *keeper) reconnectOnce() error {
	n, err := k.negotiate()
	if err != nil {
		return err
	}
	if n.Size() != k.size {
		return errors.Join(fmt.Errorf("the disk has %d bytes, and had %d: restart the node", n.Size(), k.size), n.Close())
	}
	return n.Reconnect(diskIndex)
}

// mendNetwork brings back what the system, or a cable that was out, took down.
func (k *keeper) mendNetwork() {
	if err := startNetwork(k.plan); err != nil {
		k.tell("%v", err)
	}
}
