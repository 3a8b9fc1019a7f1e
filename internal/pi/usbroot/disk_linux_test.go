package usbroot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/nbd"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The disk of the test: the root is its second partition, behind which there is room.
const (
	diskID    = 0x5eed0005
	diskSize  = 640 << 20
	rootStart = 16 << 20
	rootSize  = 96 << 20
)

// TestDisk has the machine of [TestMachine] take its root from a disk that the
// controller gives out.
func TestDisk(t *testing.T) {
	disk := makeDisk(t)
	vm.Boot(t, labtest.Initramfs{Modules: []string{
		"dummy-hcd", "libcomposite", "usb_f_ecm", "usb_f_acm", "8021q", "nbd", "ext4", // the node's
		"cdc_ether", "cdc-acm", "virtio_blk", "virtio_pci", // the controller's
	}}, func(c *lab.Config) {
		c.Image, c.InPlace = disk, true
		c.Software.CommandLine += fmt.Sprintf(" nbdroot=%s root=PARTUUID=%08x-02 rootfstype=ext4 init=/sbin/init", self.DiskWord(), diskID)
	})
	root := fmt.Sprintf("%s?offset=%d", disk, rootStart)
	if out, err := exec.Command("e2fsck", "-fn", root).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	if out, err := exec.Command("debugfs", "-R", "cat /written", root).Output(); err != nil || string(out) != lastWords {
		t.Errorf("on the disk is %q, %v; want %q", out, err, lastWords)
	}
}

// lastWords are what the system writes last.
const lastWords = "all is written\n"

// makeDisk makes a disk with an empty root.
func makeDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.img")
	table := make([]byte, mbr.SectorSize)
	binary.LittleEndian.PutUint32(table[440:], diskID)
	for i, p := range []mbr.Partition{{Type: 0x0c, Start: 4 << 20, Size: 8 << 20}, {Type: 0x83, Start: rootStart, Size: rootSize}} {
		entry := table[446+16*i:]
		entry[4] = p.Type
		binary.LittleEndian.PutUint32(entry[8:], uint32(p.Start/mbr.SectorSize))
		binary.LittleEndian.PutUint32(entry[12:], uint32(p.Size/mbr.SectorSize))
	}
	table[510], table[511] = 0x55, 0xaa
	if err := os.WriteFile(disk, table, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, diskSize); err != nil {
		t.Fatal(err)
	}
	// As Raspberry Pi OS makes its root.
	mkfs := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^64bit,^huge_file", "-E", "offset="+strconv.Itoa(rootStart), disk, strconv.Itoa(rootSize>>10)+"k")
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	return disk
}

// onDisk reports whether the machine's root is a disk.
func onDisk() bool {
	line, _ := os.ReadFile("/proc/cmdline")
	return bytes.Contains(line, []byte(" "+node.DiskArg+"="))
}

// serveDisk is the controller of a node with a disk: it gives out the machine's own, with
// this test as the system.
func serveDisk() error {
	if err := install(); err != nil {
		return err
	}
	disk, err := os.OpenFile("/dev/vda", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s := &service{disk: rawDisk{disk}}
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, stopService, startService)
	plugged := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribeWithOptions(plugged, nil, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return err
	}
	link, err := missFirstCarrier(plugged)
	if err != nil {
		return err
	}
	if err := errors.Join(giveAddress(link), s.start()); err != nil {
		return err
	}
	known := link.Attrs().Index // the link that has the address
	for {
		select {
		case u := <-plugged:
			if isFarEnd(u) && u.Attrs().Index != known {
				known = u.Attrs().Index
				if err := errors.Join(giveAddress(u.Link), s.start()); err != nil {
					return err
				}
			}
		case order := <-orders:
			s.stop()
			if order == startService {
				if err := s.start(); err != nil {
					return err
				}
			}
		}
	}
}

// missFirstCarrier switches the controller's end on, and returns it once the node has said
// a second time that the cable is connected: see [silentLink].
func missFirstCarrier(plugged <-chan netlink.LinkUpdate) (netlink.Link, error) {
	connected, had := 0, false
	for u := range plugged {
		if !isFarEnd(u) {
			continue
		}
		if u.IfInfomsg.Flags&unix.IFF_UP == 0 {
			if err := netlink.LinkSetUp(u.Link); err != nil {
				return nil, err
			}
		}
		has := hasCarrier(u.Link)
		if has && !had {
			connected++
		}
		if had = has; connected == 2 {
			return u.Link, nil
		}
	}
	return nil, errors.New("no more news of links")
}

// Signals to the controller.
const (
	stopService  = unix.SIGUSR1
	startService = unix.SIGUSR2
)

// install puts this test, as the system, on the root of the machine's disk.
func install() error {
	if err := uevent.Wait(context.Background(), func() (bool, error) { _, err := os.Stat("/dev/vda2"); return err == nil, nil }, "block"); err != nil {
		return err
	}
	if err := unix.Mount("/dev/vda2", exported, "ext4", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"sbin", "proc", "sys", "dev", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(exported, dir), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(exported, "sbin/init"), program, 0o755), unix.Unmount(exported, 0))
}

// A service gives out a disk, and can stop.
type service struct {
	disk  nbd.Disk
	l     net.Listener
	stops context.CancelFunc
	conns sync.WaitGroup
}

func (s *service) start() (err error) {
	if s.l != nil {
		return nil
	}
	if s.l, err = net.Listen("tcp", fmt.Sprintf("%v:%d", node.ControllerNFSAddr, node.DiskPort)); err != nil {
		return err
	}
	ctx, stops := context.WithCancel(context.Background())
	s.stops = stops
	server := nbd.Server{
		Find: func(client net.Addr, name string) (nbd.Disk, bool) {
			host, _, _ := net.SplitHostPort(client.String())
			return s.disk, name == self.String() && host == self.NFSAddr().String()
		},
		List: func(net.Addr) []string { return nil },
	}
	l := s.l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { _ = server.ServeConn(ctx, conn) })
		}
	}()
	return nil
}

// stop returns once what was asked for is done.
func (s *service) stop() {
	if s.l == nil {
		return
	}
	s.l.Close()
	s.stops()
	s.conns.Wait()
	s.l = nil
}

// A rawDisk is a disk that is given out as it is.
type rawDisk struct{ *os.File }

func (rawDisk) Size() int64           { return diskSize }
func (d rawDisk) Flush() error        { return d.Sync() }
func (rawDisk) Trim(_, _ int64) error { return nil }
func (d rawDisk) Zero(at, n int64) error {
	zeros := make([]byte, 64<<10)
	for n > 0 {
		part := min(n, int64(len(zeros)))
		if _, err := d.WriteAt(zeros[:part], at); err != nil {
			return err
		}
		at, n = at+part, n-part
	}
	return nil
}

// inDiskSystem is the first program of the system on the disk.
func inDiskSystem(t *testing.T) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if want := "/dev/nbd0p2 / ext4 ro,"; !strings.Contains("\n"+string(mounts), "\n"+want) {
		t.Errorf("mounted is\n%swant %s", mounts, want)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs("/", &stat); err != nil {
		t.Fatal(err)
	}
	if got, want := int64(stat.Blocks)*int64(stat.Bsize), int64(diskSize-rootStart)*9/10; got < want {
		t.Errorf("the root has %d MiB, want %d or more", got>>20, want>>20)
	}
	for _, name := range []string{"systemd/system/networking.service.d/clusterctrl.conf", "systemd/system/clusterctrl-composite.service.d/disk.conf", "NetworkManager/conf.d/90-clusterctrl.conf"} {
		if _, err := os.Stat(filepath.Join("/run", name)); err != nil {
			t.Error(err)
		}
	}
	checkKeeper(t)
	// This program is on the disk, too, and has to run while nobody can read that.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	controller, err := strconv.Atoi(os.Getenv(controllerPID))
	if err != nil {
		t.Fatal(err)
	}
	plugs, dead := plug(t, controller), make(chan struct{}, 1)
	listens := make(chan struct{})
	go func() {
		fmt.Println("test:", nbd.LinkDead(func() { close(listens) }, func(int) error { signalOn(dead); return nil }))
	}()
	<-listens
	w := newWriter(t)
	for _, trouble := range []struct {
		name       string
		start, end func() error
	}{
		{"the service is restarted",
			func() error { err := syscall.Kill(controller, stopService); <-dead; return err },
			func() error { return syscall.Kill(controller, startService) }},
		{"the cable is pulled",
			func() error { return authorize("0") },
			func() error { err := authorize("1"); <-plugs; return err }},
		{"the network card is taken down",
			func() error { return onLink(node.GadgetLink, netlink.LinkSetDown) },
			func() error { return nil }},
		{"the VLAN is removed",
			func() error { return onLink(node.NFSLink, netlink.LinkDel) },
			func() error { return nil }},
	} {
		fmt.Println("test:", trouble.name)
		w.written(5)
		if err := trouble.start(); err != nil {
			t.Fatalf("%s: %v", trouble.name, err)
		}
		if err := trouble.end(); err != nil {
			t.Fatalf("%s: end: %v", trouble.name, err)
		}
		w.written(5)
	}
	w.check()
	f, err := os.Create("/written")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(lastWords)
	if err := errors.Join(err, f.Sync(), f.Close(), unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
}

// checkKeeper looks for the one process that is left of the initramfs.
func checkKeeper(t *testing.T) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		if line, _ := os.ReadFile(name); string(line) == keeperName+"\x00" {
			score, err := os.ReadFile(filepath.Join(filepath.Dir(name), "oom_score_adj"))
			if err != nil || string(score) != "-1000\n" {
				t.Errorf("oom_score_adj = %q, %v", score, err)
			}
			return
		}
	}
	t.Errorf("no process %q", keeperName)
}

// plug gives the controller its end of the cable whenever that comes up anew, and then
// sends one signal.
func plug(t *testing.T, controller int) <-chan struct{} {
	updates, plugs := make(chan netlink.LinkUpdate), make(chan struct{}, 1)
	if err := netlink.LinkSubscribe(updates, nil); err != nil {
		t.Fatal(err)
	}
	go func() {
		known := 0
		for u := range updates {
			if isFarEnd(u) && u.Attrs().Index != known {
				known = u.Attrs().Index
				if err := netlink.LinkSetNsPid(u.Link, controller); err != nil {
					fmt.Println("test:", err)
				}
				plugs <- struct{}{}
			}
		}
	}()
	return plugs
}

// isFarEnd reports whether a network card came up that is the controller's end of the
// cable.
func isFarEnd(u netlink.LinkUpdate) bool {
	return u.Header.Type == unix.RTM_NEWLINK && u.Link.Type() != "vlan" && bytes.Equal(u.Attrs().HardwareAddr, mac(self))
}

// authorize says whether the controller may use the node's gadget: if not, the gadget is
// as one without a cable.
func authorize(value string) error {
	vendors, err := filepath.Glob("/sys/bus/usb/devices/*/idVendor")
	if err != nil {
		return err
	}
	for _, name := range vendors {
		if text, _ := os.ReadFile(name); strings.TrimSpace(string(text)) == "3171" {
			return os.WriteFile(filepath.Join(filepath.Dir(name), "authorized"), []byte(value), 0)
		}
	}
	return fs.ErrNotExist
}

func onLink(name string, do func(netlink.Link) error) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return do(link)
}

// A writer writes blocks to a file, one after the other, each synced.
type writer struct {
	t     *testing.T
	file  *os.File
	wrote chan int // numbers of blocks that are said to be on the disk
	last  int
}

func newWriter(t *testing.T) *writer {
	f, err := os.Create("/blocks")
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, file: f, wrote: make(chan int, 1)}
	go func() {
		for n := 0; ; n++ {
			if _, err := f.WriteAt(block(n), int64(n)*blockSize); err != nil {
				fmt.Println("test: write:", err)
			}
			if err := f.Sync(); err != nil {
				fmt.Println("test: sync:", err)
			}
			w.wrote <- n
		}
	}()
	return w
}

const blockSize = 64 << 10

func block(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8), 'x', 0}, blockSize/4) }

// written returns once n more blocks are on the disk.
func (w *writer) written(n int) {
	for range n {
		w.last = <-w.wrote
	}
}

// check reads all blocks back from the disk.
func (w *writer) check() {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		w.t.Fatal(err)
	}
	for n := range w.last + 1 {
		got := make([]byte, blockSize)
		if _, err := w.file.ReadAt(got, int64(n)*blockSize); err != nil || !bytes.Equal(got, block(n)) {
			w.t.Errorf("block %d is not what was written (%v)", n, err)
		}
	}
	w.t.Logf("%d blocks are there", w.last+1)
	w.file.Close()
}
