package usb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbip"
)

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine plugs a played device into a virtual machine: see [inMachine].
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{Modules: []string{"vhci-hcd"}})
}

// inMachine has the kernel see what the device is, and speaks with it as a program
// does, by way of the kernel's usbfs.
func inMachine(t *testing.T) {
	d := newEcho()
	for range 2 { // a port can be used again
		plug, f := plugIn(t, d)
		transfers(t, f)
		stalls(t, d, f)
		slow(t, f)
		pulled(t, d, plug, f)
	}
	exchanged(t, d)
}

// exchanged plugs a device in where the same was a moment ago, while the hub's driver is
// busy with another port: the kernel must take it for a new one. The driver goes through
// the ports in their order.
func exchanged(t *testing.T, d *echo) {
	number := func() string {
		b, _ := os.ReadFile(find("") + "/devnum")
		return string(b)
	}
	plug, _ := plugIn(t, d)
	before := number()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	silent, kernel := os.NewFile(uintptr(fds[0]), "a device that says nothing"), os.NewFile(uintptr(fds[1]), "the kernel's end")
	defer kernel.Close()
	if err := usbip.Port(1).Import(kernel, usbip.Device{Bus: 1, Number: 9, Speed: usbip.HighSpeed}); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); err != nil { // it is asked who it is
		t.Fatal(err)
	}
	plug.Pull()
	if err := plug.Wait(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2*time.Second, func() { unix.Shutdown(int(silent.Fd()), unix.SHUT_RDWR) })
	for _, port := range []usbip.Port{2, 3} {
		if _, err := usb.PlugIn(t.Context(), port, newEcho()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the device behind it", func() bool {
		names, _ := filepath.Glob("/sys/devices/platform/vhci_hcd.0/usb1/1-4/*:1.0")
		return len(names) > 0
	})
	if after := number(); after == before || after == "" {
		t.Errorf("the new device has the number %q, the old one had %q: want another", after, before)
	}
}

// transfers passes data both ways.
func transfers(t *testing.T, f *os.File) {
	for _, size := range []int{0, 1, 64, 65, 16 << 10} {
		data := bytes.Repeat([]byte{byte(size), 7}, size)[:size]
		if n, err := transfer(f, 1, data, 0); n != size || err != nil {
			t.Errorf("sent %d bytes of %d, %v", n, size, err)
		}
		got := make([]byte, 16<<10)
		if n, err := transfer(f, 0x82, got, 0); err != nil || !bytes.Equal(got[:n], data) {
			t.Errorf("%d bytes came back, %v; want the %d that were sent", n, err, size)
		}
	}
	if n, err := request(f, usb.Setup{usb.VendorOut, 1, 0x1234, 0x5678, 3}, []byte("abc")); n != 3 || err != nil {
		t.Errorf("control transfer out: %d, %v", n, err)
	}
	got := make([]byte, 100)
	n, err := request(f, usb.Setup{usb.VendorIn, 2, 0, 0, 100}, got)
	if want := "type 40, request 1, value 1234, index 5678, length 3: abc"; err != nil || string(got[:n]) != want {
		t.Errorf("control transfer in: %q, %v; want %q", got[:n], err, want)
	}
}

// stalls has endpoints refuse transfers.
func stalls(t *testing.T, d *echo, f *os.File) {
	if _, err := request(f, usb.Setup{usb.VendorIn, 99, 0, 0, 4}, make([]byte, 4)); !errors.Is(err, unix.EPIPE) {
		t.Errorf("unknown request: %v, want %v", err, unix.EPIPE)
	}
	if _, err := request(f, usb.Setup{usb.VendorIn, 2, 0, 0, 4}, make([]byte, 4)); err != nil {
		t.Errorf("request after a stall: %v", err)
	}
	d.stall <- struct{}{}
	for range 2 { // the second is refused by the endpoint, which the device hears nothing of
		if _, err := transfer(f, 1, []byte("x"), 0); !errors.Is(err, unix.EPIPE) {
			t.Errorf("transfer to an endpoint that stalls: %v, want %v", err, unix.EPIPE)
		}
	}
	halted := uint32(1)
	if _, err := ioctl(f, clearHalt, unsafe.Pointer(&halted)); err != nil {
		t.Fatal(err)
	}
	transfers(t, f)
}

// slow has the host give up, and the device answer too late. The other endpoint
// works in the meantime.
func slow(t *testing.T, f *os.File) {
	for range 3 {
		if _, err := transfer(f, 0x82, make([]byte, 8), 50); !errors.Is(err, unix.ETIMEDOUT) {
			t.Errorf("transfer from an endpoint that has nothing to say: %v, want %v", err, unix.ETIMEDOUT)
		}
	}
	transfers(t, f)
}

// pulled pulls the plug while the host waits for an answer.
func pulled(t *testing.T, d *echo, plug *usb.Plug, f *os.File) {
	for len(d.waits) > 0 {
		<-d.waits
	}
	failed := make(chan error, 1)
	go func() {
		_, err := transfer(f, 0x82, make([]byte, 8), 0)
		failed <- err
	}()
	<-d.waits
	plug.Pull()
	if err := <-failed; !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ESHUTDOWN) && !errors.Is(err, unix.EPROTO) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("transfer from a device that is pulled out: %v", err)
	}
	if err := plug.Wait(); err != nil {
		t.Error(err)
	}
	await(t, "the end of the device", func() bool { return find("") == "" })
}

// plugIn plugs in a device and opens it, once the kernel knows what it is.
func plugIn(t *testing.T, d *echo) (*usb.Plug, *os.File) {
	t.Helper()
	plug, err := usb.PlugIn(t.Context(), usbip.Port(2), d)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "an interface", func() bool { return find("/*:1.0") != "" })
	for name, want := range map[string]string{"idVendor": "1209", "product": "écho", "serial": "", "bNumInterfaces": " 1", "bNumEndpoints": "02"} {
		pattern := find("") + "/" + name
		if name == "bNumEndpoints" {
			pattern = find("") + "/*:1.0/" + name
		}
		names, _ := filepath.Glob(pattern)
		got := ""
		if len(names) == 1 {
			b, _ := os.ReadFile(names[0])
			got = strings.TrimSuffix(string(b), "\n")
		}
		if got != want {
			t.Errorf("%s of the device: %q, want %q", name, got, want)
		}
	}
	number, err := os.ReadFile(find("") + "/devnum")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/dev/bus/usb/001/%03s", strings.TrimSpace(string(number))), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	first := uint32(0)
	if _, err := ioctl(f, claimInterface, unsafe.Pointer(&first)); err != nil {
		t.Fatal(err)
	}
	return plug, f
}

// find finds a part of what the kernel shows of the device on port 2, which the kernel
// counts as port 3.
func find(part string) string {
	names, _ := filepath.Glob("/sys/devices/platform/vhci_hcd.0/usb1/1-3" + part)
	return strings.Join(names, " ")
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	if err := uevent.Wait(t.Context(), func() (bool, error) { return done(), nil }, "usb"); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Requests of usbfs (linux/usbdevice_fs.h), as 64-bit machines have them.
const (
	controlTransfer = 0xc0185500
	bulkTransfer    = 0xc0185502
	claimInterface  = 0x8004550f
	clearHalt       = 0x80045515
)

// transfer does a transfer of an endpoint, with a time-out in milliseconds, or none.
func transfer(f *os.File, endpoint uint32, data []byte, timeout uint32) (int, error) {
	t := struct {
		endpoint, length, timeout uint32
		data                      unsafe.Pointer
	}{endpoint, uint32(len(data)), timeout, unsafe.Pointer(unsafe.SliceData(data))}
	return ioctl(f, bulkTransfer, unsafe.Pointer(&t))
}

func request(f *os.File, s usb.Setup, data []byte) (int, error) {
	t := struct {
		usb.Setup
		timeout uint32
		data    unsafe.Pointer
	}{s, 0, unsafe.Pointer(&data[0])}
	return ioctl(f, controlTransfer, unsafe.Pointer(&t))
}

func ioctl(f *os.File, what uintptr, with unsafe.Pointer) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), what, uintptr(with))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// An echo is a device that sends back what it is sent.
type echo struct {
	heard chan []byte
	said  string // of the last control transfer

	stall chan struct{} // has the next transfer stall
	waits chan struct{} // the host waits for something to be said
}

func newEcho() *echo {
	return &echo{heard: make(chan []byte, 1), stall: make(chan struct{}, 1), waits: make(chan struct{}, 100)}
}

func (*echo) Descriptors() usb.Descriptors {
	return usb.Descriptors{
		Speed:  usbip.HighSpeed,
		Device: usb.DeviceDescriptor{USB: 0x0200, MaxPacket: 64, Vendor: 0x1209, Product: 1, ProductString: 2, Configurations: 1},
		Configuration: usb.Configuration(usb.Interface{Class: 0xff, Endpoints: []usb.Endpoint{
			{Address: 1, Attributes: usb.Bulk, MaxPacket: 512}, {Address: 0x82, Attributes: usb.Bulk, MaxPacket: 512},
		}}),
		Strings: map[uint8]string{2: "écho"},
	}
}

func (d *echo) Control(_ context.Context, s usb.Setup, out []byte) ([]byte, error) {
	switch {
	case s.Type == usb.VendorOut && s.Request == 1:
		d.said = fmt.Sprintf("type %x, request %d, value %x, index %x, length %d: %s", s.Type, s.Request, s.Value, s.Index, s.Length, out)
		return nil, nil
	case s.Type == usb.VendorIn && s.Request == 2:
		return []byte(d.said), nil
	}
	return nil, usb.ErrStall
}

func (d *echo) Out(ctx context.Context, endpoint uint8, data []byte) error {
	select {
	case <-d.stall:
		return usb.ErrStall
	default:
	}
	select {
	case d.heard <- data:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *echo) In(ctx context.Context, endpoint uint8, length int) ([]byte, error) {
	select {
	case data := <-d.heard:
		return data, nil
	default:
	}
	d.waits <- struct{}{}
	select {
	case data := <-d.heard:
		return data, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
