package usbroot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/traffic"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/node"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const self node.ID = 5

// TestMachine has a machine whose own USB port a virtual cable leads back to. Of its
// two ends, one is the node's and one the controller's, which has a network namespace
// and an NFS server of its own. Thus /init, which is [Main], finds what it finds on a
// Pi, and what it starts at the end is this test again, from NFS: see [inSystem].
func TestMachine(t *testing.T) {
	if vm.Inside() && onDisk() {
		inDiskSystem(t)
		return
	}
	if vm.Inside() {
		inSystem(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{Modules: []string{
		"dummy-hcd", "libcomposite", "usb_f_ecm", "usb_f_acm", "8021q", "nfsv4", // the node's
		"cdc_ether", "cdc-acm", "nfsd", // the controller's
	}}, func(c *lab.Config) { c.Software.CommandLine += commandLine(self) })
}

// commandLine holds the words about its root that a node without a card is started with.
func commandLine(id node.ID) string {
	return fmt.Sprintf(" root=/dev/nfs nfsroot=%v:%s rw ip=%v:%[1]v::255.255.255.0:%[4]v:%s:static",
		node.ControllerNFSAddr, id.NFSRoot(), id.NFSAddr(), id, node.NFSLink)
}

func TestMain(m *testing.M) {
	switch {
	case vm.Inside() && os.Args[0] == "/init":
		if err := start(); err != nil {
			fmt.Println("test:", err)
		}
		_ = Main(os.Args)
	case os.Args[0] == keeperName:
		fmt.Println("keeper:", Main(os.Args))
		os.Exit(1)
	case len(os.Args) > 1 && os.Args[1] == "controller":
		if err := control(); err != nil {
			fmt.Println("controller:", err)
			os.Exit(1)
		}
	default:
		vm.Main(m)
	}
}

// start starts the controller, and gives it its end of the cable once it is there.
func start() error {
	if err := initramfs.Start(); err != nil {
		return err
	}
	controller := exec.Command("/init", "controller")
	controller.Stdout, controller.Stderr = os.Stdout, os.Stderr
	controller.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := controller.Start(); err != nil {
		return err
	}
	os.Setenv(controllerPID, strconv.Itoa(controller.Process.Pid))
	go func() {
		card, err := farEnd()
		if err == nil {
			err = netlink.LinkSetNsPid(card, controller.Process.Pid)
		}
		if err != nil {
			fmt.Println("test:", err)
		}
	}()
	return nil
}

// controllerPID is the variable that tells the system which process the controller is.
const controllerPID = "CONTROLLER_PID"

// farEnd waits for the controller's end of the cable in this network namespace.
func farEnd() (netlink.Link, error) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return nil, err
	}
	for u := range updates {
		if bytes.Equal(u.Attrs().HardwareAddr, mac(self)) {
			return u.Link, nil
		}
	}
	return nil, errors.New("no more news of links")
}

// mac is the address at the controller's end.
func mac(id node.ID) net.HardwareAddr {
	return net.HardwareAddr{0x00, 0x22, 0x82, 0xff, 0xfe, byte(id)}
}

// control is the controller: it exports its root, which has a node's in it.
func control() error {
	if onDisk() {
		return serveDisk()
	}
	if err := export(); err != nil {
		return err
	}
	card, err := farEnd()
	if err != nil {
		return err
	}
	if err := giveAddress(card); err != nil {
		return err
	}
	for { // the kernel is the server as long as its namespace is there
		_ = unix.Pause()
	}
}

// giveAddress makes a network card the controller's end of the VLAN.
func giveAddress(card netlink.Link) error {
	vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "nfs", ParentIndex: card.Attrs().Index}, VlanId: node.NFSVLAN}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: node.ControllerNFSAddr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	return errors.Join(netlink.LinkSetUp(card), netlink.LinkAdd(vlan), netlink.AddrAdd(vlan, address), netlink.LinkSetUp(vlan))
}

// exported is what becomes the controller's root.
const exported = "/mnt"

// export makes a node's root, and has the kernel's NFS server give it out.
func export() error {
	if err := unix.Mount("tmpfs", exported, "tmpfs", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"sbin", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(exported, self.NFSRoot(), dir), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(exported, self.NFSRoot(), "sbin/init"), program, 0o755); err != nil {
		return err
	}
	proc := filepath.Join(exported, "proc")
	if err := errors.Join(os.Mkdir(proc, 0o755), unix.Mount("proc", proc, "proc", 0, "")); err != nil {
		return fmt.Errorf("%s: %w", proc, err)
	}
	if err := unix.Chroot(exported); err != nil {
		return err
	}
	return traffic.ServeFiles("/", self.NFSAddr())
}

// inSystem is the first program of the system on NFS.
func inSystem(t *testing.T) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprintf("%v:%s / nfs4 rw,", node.ControllerNFSAddr, self.NFSRoot())
	if !strings.Contains("\n"+string(mounts), "\n"+root) {
		t.Errorf("mounted is\n%swant %s", mounts, root)
	}
	link, err := netlink.LinkByName(node.NFSLink)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].IP.String() != self.NFSAddr().String() {
		t.Errorf("%s has %v, %v; want %v", node.NFSLink, addrs, err, self.NFSAddr())
	}
	if got := link.Attrs().MTU; got != node.NFSMTU {
		t.Errorf("MTU of %s = %d, want %d", node.NFSLink, got, node.NFSMTU)
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil || len(routes) != 1 || routes[0].Priority != node.NFSMetric {
		t.Errorf("routes of %s = %v, %v; want one with the metric %d", node.NFSLink, routes, err, node.NFSMetric)
	}
	for _, left := range []string{"/init", "/modules"} {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s of the initramfs: %v", left, err)
		}
	}
	wantOwnName(t)
	writeAndRead(t)
}

// wantOwnName wants the server to know the node by a name that no other node has.
func wantOwnName(t *testing.T) {
	t.Helper()
	clients, err := filepath.Glob("/proc/" + os.Getenv(controllerPID) + "/root/proc/fs/nfsd/clients/*/info")
	if err != nil || len(clients) != 1 {
		t.Fatalf("the server's clients: %q, %v; want one", clients, err)
	}
	info, err := os.ReadFile(clients[0])
	if want := fmt.Sprintf("\nname: \"Linux NFSv4.2 %v\"\n", self); err != nil || !strings.Contains(string(info), want) {
		t.Errorf("the server's client is (%v)\n%swant %s in it", err, info, want)
	}
}

// writeAndRead moves more over the cable and back than the kernel would keep of it.
func writeAndRead(t *testing.T) {
	content := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	f, err := os.Create("/tmp/content")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("/tmp/content")
	if err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
		t.Errorf("%d bytes came back, others than were written (%v)", len(got), err)
	}
}
