package gadget

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/traffic"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
)

// pause is how long a test waits for what has no event, before it looks again.
const pause = 300 * time.Millisecond

func isThere(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// await returns once done does, which it asks whenever the kernel says that a
// device came or went, or that configfs made one. A machine that waits for ever is
// silent, which ends the test outside.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	events, err := uevent.Listen(uevent.Kernel | uevent.Udev)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	fmt.Println("waiting for", what)
	for !done() {
		events.SetReadDeadline(time.Now().Add(pause)) // not all that is waited for has an event
		if _, err := events.Read(make([]byte, 8<<10)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
	}
}

// A device is a node as the USB host sees it, in the kernel's terms.
type device struct {
	dir  string // in /sys
	name string // of its directory, such as 1-1
	card string // the network interface
	tty  string // the serial port
	port string // what udev calls the serial port, in /dev
}

// findDevice waits for a node to appear, with drivers for both functions, until udev
// is done with it, and wants udev to have given them their names.
func findDevice(t *testing.T, kind string, id node.ID) device {
	t.Helper()
	link := id.Link()
	if kind == typeUSBBoot {
		link = id.USBBootLink()
	}
	d := device{port: "/dev/" + id.Port()}
	await(t, fmt.Sprintf("%v on USB, and udev's word on it", id), func() bool {
		vendors, _ := filepath.Glob("/sys/bus/usb/devices/*/idVendor")
		for _, name := range vendors {
			if read(name) != fmt.Sprintf("%04x", node.VendorID) {
				continue
			}
			d.dir = filepath.Dir(name)
			d.look()
		}
		return d.card != "" && isThere("/run/udev/data/n"+read("/sys/class/net/"+d.card+"/ifindex")) && knownToUdev(d.tty, id)
	})
	runUdevadm(t, "settle")
	d.look()
	if target, err := os.Readlink(d.port); d.card != link || target != d.tty {
		t.Fatalf("udev calls the link of %v %s, and %s leads to %q, %v; want %s, and a link to %s", id, d.card, d.port, target, err, link, d.tty)
	}
	return d
}

// knownToUdev reports whether udev has noted what it knows of a serial port of the node.
// A test waits for that note rather than for a name: a name that no rule gives never
// comes, and the machine would be given up after a long silence.
func knownToUdev(tty string, id node.ID) bool {
	note := read("/run/udev/data/c" + read("/sys/class/tty/"+tty+"/dev"))
	return slices.Contains(strings.Split(note, "\n"), "E:ID_SERIAL_SHORT="+fmt.Sprint(id)[1:])
}

func read(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// look reads the names that there are by now.
func (d *device) look() {
	d.name, d.card, d.tty = filepath.Base(d.dir), only(d.dir+"/*:1.0/net/*"), only(d.dir+"/*:1.2/tty/*")
}

// only returns the last part of the only name that matches.
func only(pattern string) string {
	names, _ := filepath.Glob(pattern)
	if len(names) != 1 {
		return ""
	}
	return filepath.Base(names[0])
}

// What Linux's drivers for the network functions are called, and the classes of
// the functions' interfaces.
var hostSide = map[node.Gadget]struct{ driver, classes string }{
	node.RNDIS: {"rndis_host", "02.02.ff 0a.00.00"},
	node.NCM:   {"cdc_ncm", "02.0d.00 0a.00.01"},
	node.ECM:   {"cdc_ether", "02.06.00 0a.00.00"},
}

// check compares everything that a node says of itself with the facts.
func (d device) check(t *testing.T, kind string, id node.ID, f node.Gadget) {
	t.Helper()
	product := map[string]string{typeNode: "ClusterCTRL", typeUSBBoot: "ClusterCTRL-usbboot"}[kind]
	products := map[node.Gadget]string{node.RNDIS: "0020", node.NCM: "0021", node.ECM: "0022"}
	attributes := map[string]string{
		"idVendor": "3171", "idProduct": products[f], "bcdDevice": "0100", "version": "2.00",
		"bDeviceClass": "ef", "bDeviceSubClass": "02", "bDeviceProtocol": "01",
		"manufacturer": "8086 Consultancy", "product": product, "serial": fmt.Sprint(id)[1:],
		"bMaxPower": "250mA", "bmAttributes": "80", "bNumConfigurations": "1", "bNumInterfaces": "4",
		"speed": "480",
		d.name + ":1.0/net/" + d.card + "/address": fmt.Sprintf("00:22:82:ff:fe:%02x", uint8(id)),
	}
	for name, want := range attributes {
		if got := read(filepath.Join(d.dir, name)); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	// Once udev is done with it, which gives a new address to what has a random one.
	await(t, "udev's word on usb0", func() bool { return isThere("/run/udev/data/n" + read("/sys/class/net/usb0/ifindex")) })
	if got, want := read("/sys/class/net/usb0/address"), fmt.Sprintf("00:22:82:ff:ff:%02x", uint8(id)); got != want {
		t.Errorf("the node's end is %s; want %s", got, want)
	}
	var drivers, classes []string
	for i := range 4 {
		dir := fmt.Sprintf("%s/%s:1.%d/", d.dir, d.name, i)
		if got, want := read(dir+"bInterfaceNumber"), fmt.Sprintf("%02x", i); got != want {
			t.Errorf("interface %d has the number %s", i, got)
		}
		driver, _ := os.Readlink(dir + "driver")
		drivers = append(drivers, filepath.Base(driver))
		classes = append(classes, read(dir+"bInterfaceClass")+"."+read(dir+"bInterfaceSubClass")+"."+read(dir+"bInterfaceProtocol"))
	}
	want := hostSide[f]
	if !slices.Equal(drivers, []string{want.driver, want.driver, "cdc_acm", "cdc_acm"}) {
		t.Errorf("drivers %q", drivers)
	}
	if got, want := strings.Join(classes, " "), want.classes+" 02.02.01 0a.00.00"; got != want {
		t.Errorf("classes %s; want %s", got, want)
	}
	properties, err := exec.Command("/"+udevadm, "info", "-q", "property", "/dev/"+d.tty).CombinedOutput()
	if err != nil || !bytes.Contains(properties, []byte("\nID_MM_DEVICE_IGNORE=1\n")) {
		t.Errorf("%s: %v, properties for ModemManager:\n%s", d.tty, err, properties)
	}
	d.checkMicrosoft(t, f)
}

// checkMicrosoft asks for drivers as Windows does (Microsoft OS 1.0 Descriptors
// Specification): first for string 0xee, by the code in it for compatible ids.
func (d device) checkMicrosoft(t *testing.T, f node.Gadget) {
	t.Helper()
	text := make([]byte, 18)
	const deviceIn, getDescriptor, stringDescriptor = 0x80, 6, 3
	n, err := d.control(deviceIn, getDescriptor, stringDescriptor<<8|0xee, 0, text)
	if f == node.ECM {
		if err == nil {
			t.Errorf("an OS string descriptor, % x", text[:n])
		}
		return
	}
	code := map[node.Gadget]byte{node.RNDIS: 0xcd, node.NCM: 0xbc}[f]
	if want := "\x12\x03M\x00S\x00F\x00T\x001\x000\x000\x00" + string([]byte{code, 0}); err != nil || string(text[:n]) != want {
		t.Errorf("OS string descriptor %q, %v; want %q", text[:n], err, want)
	}
	ids := make([]byte, 40)
	const vendorIn, compatibleIDs = 0xc0, 4
	n, err = d.control(vendorIn, code, 0, compatibleIDs, ids)
	want := map[node.Gadget]string{
		node.RNDIS: "RNDIS\x00\x00\x005162001\x00", node.NCM: "WINNCM\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}[f]
	if err != nil || n != len(ids) || string(ids[18:34]) != want || ids[16] != 0 {
		t.Errorf("compatible ids %q, %v; want %q of interface 0", ids[:n], err, want)
	}
}

// control has the host ask the device on its default pipe.
func (d device) control(requestType, request uint8, value, index uint16, reply []byte) (int, error) {
	name := fmt.Sprintf("/dev/bus/usb/%03s/%03s", read(d.dir+"/busnum"), read(d.dir+"/devnum"))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	transfer := struct { // usbdevfs_ctrltransfer of linux/usbdevice_fs.h
		requestType, request uint8
		value, index, length uint16
		timeout              uint32 // ms
		reply                unsafe.Pointer
	}{requestType, request, value, index, uint16(len(reply)), 5000, unsafe.Pointer(&reply[0])}
	const usbdevfsControl = 0xc0185500
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), usbdevfsControl, uintptr(unsafe.Pointer(&transfer)))
	runtime.KeepAlive(reply)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// exchange sends datagrams of all sizes from the node to the controller, which
// sends them back.
func exchange(t *testing.T, host *traffic.FarEnd, d device, id node.ID) {
	t.Helper()
	if err := host.Join(d.card, node.ControllerAddr, node.GadgetLink, id.Addr()); err != nil {
		t.Fatalf("%v\nnode's end: %s\ncontroller's end: %s", err, state(node.GadgetLink), stateAt(host, d.card))
	}
	var controller *net.UDPConn
	err := host.Do(func() (err error) {
		controller, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(node.ControllerAddr, 7)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer controller.Close()
	go echo(controller)
	client, err := net.DialUDP("udp4", nil, controller.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, size := range []int{1, 18, 470, 512, 1024, 1471, 1472} {
		if err := call(client, size); err != nil {
			t.Fatalf("%d bytes: %v\nnode's end: %s\ncontroller's end: %s", size, err, state(node.GadgetLink), stateAt(host, d.card))
		}
	}
}

// state tells how a network card is.
func state(card string) string {
	link, err := netlink.LinkByName(card)
	if err != nil {
		return err.Error()
	}
	a := link.Attrs()
	return fmt.Sprintf("%v, %d packets sent, %d received", a.OperState, a.Statistics.TxPackets, a.Statistics.RxPackets)
}

func stateAt(host *traffic.FarEnd, card string) string {
	var text string
	err := host.Do(func() error {
		text = state(card)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return text
}

func echo(c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(buf[:n], from)
	}
}

// call sends a datagram until it is echoed: the first ones are lost while both
// ends find that they are connected.
func call(c *net.UDPConn, size int) error {
	sent, got := make([]byte, size), make([]byte, 2048)
	rand.Read(sent)
	for {
		if _, err := c.Write(sent); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(pause))
		n, err := c.Read(got)
		if err == nil && bytes.Equal(got[:n], sent) {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
}

// exchangeSerial sends bytes from either end of the serial port to the other.
func exchangeSerial(t *testing.T, d device) {
	t.Helper()
	node, controller := openRaw(t, "/dev/ttyGS0"), openRaw(t, d.port)
	defer node.Close()
	defer controller.Close()
	for _, way := range []struct{ from, to *os.File }{{node, controller}, {controller, node}} {
		sent, got := make([]byte, 64<<10), make([]byte, 64<<10)
		rand.Read(sent)
		written := make(chan error)
		go func() {
			_, err := way.from.Write(sent)
			written <- err
		}()
		_, err := io.ReadFull(way.to, got)
		if err := errors.Join(err, <-written); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%s to %s: %v, bytes are equal: %t", way.from.Name(), way.to.Name(), err, bytes.Equal(got, sent))
		}
	}
}

// openRaw opens a terminal that passes on every byte as it is.
func openRaw(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) {
		var mode *unix.Termios
		if mode, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
			return
		}
		mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
		mode.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		err = unix.IoctlSetTermios(int(fd), unix.TCSETS, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
