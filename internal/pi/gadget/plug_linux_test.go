package gadget

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/linux/usbip"
)

// A usbDevice is one that the test plays, at the far end of a USB cable that is
// USB/IP: a device with one interface, of no class that Linux knows, and no
// endpoints but the one for control.
type usbDevice struct {
	vendor, product uint16
	answer          func(setup, []byte) (in []byte, ok bool) // to what is not in USB's standard

	cable  *os.File
	served chan error
	dir    string // of the kernel's device
}

// A setup is what begins a control transfer (USB 2.0, 9.3).
type setup struct {
	Type, Request        uint8
	Value, Index, Length uint16
}

// part is the name of something that the kernel has of the device's interface.
func (d *usbDevice) part(name string) string {
	return fmt.Sprintf("%s/%s:1.0/%s", d.dir, filepath.Base(d.dir), name)
}

// plug plugs a device into one of the machine's virtual USB ports, and returns
// when the kernel has seen what it is.
func plug(t *testing.T, port int, d *usbDevice) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "the kernel's end")
	defer theirs.Close()
	d.cable, d.served = os.NewFile(uintptr(fds[0]), "our end"), make(chan error, 1)
	go func() { d.served <- d.serve() }()
	await(t, fmt.Sprintf("a free port %d", port), func() bool { // it is not at once, after an earlier device
		err = usbip.Port(port).Import(theirs, usbip.Device{Bus: 1, Number: 1, Speed: usbip.FullSpeed})
		return !errors.Is(err, unix.EBUSY)
	})
	if err != nil {
		t.Fatal(err)
	}
	d.dir = ""
	await(t, fmt.Sprintf("%04x:%04x on port %d", d.vendor, d.product, port), func() bool {
		for _, dir := range glob(fmt.Sprintf("/sys/devices/platform/vhci_hcd.0/usb*/*-%d", port+1)) {
			d.dir = dir
		}
		return d.dir != "" && isThere(d.part(""))
	})
	if got, want := read(d.dir+"/idVendor")+":"+read(d.dir+"/idProduct"), fmt.Sprintf("%04x:%04x", d.vendor, d.product); got != want {
		t.Fatalf("%s is %s; want %s", d.dir, got, want)
	}
}

// unplug pulls the device out, and returns when the kernel has seen that.
func (d *usbDevice) unplug(t *testing.T) {
	t.Helper()
	unix.Shutdown(int(d.cable.Fd()), unix.SHUT_RDWR)
	if err := errors.Join(<-d.served, d.cable.Close()); err != nil {
		t.Error(err)
	}
	await(t, "the end of "+d.dir, func() bool { return !isThere(d.dir) })
}

// Messages of USB/IP once a device is imported (usbip_protocol.rst): what the
// host wants, and the answers. What it takes back has always been answered already.
const (
	submitMessage   = 1
	submittedAnswer = 3
	unlinkedAnswer  = 4
)

// A submission is a transfer that the host wants.
type submission struct {
	Message, Number, Device, In, Endpoint uint32
	Flags, Length                         uint32
	_                                     [3]uint32
	Setup                                 [8]byte
}

// A result is what becomes of it.
type result struct {
	Message, Number, Device, In, Endpoint uint32
	Status                                int32
	Length                                uint32
	_                                     [5]uint32
}

// serve plays the device until the plug is pulled.
func (d *usbDevice) serve() error {
	for {
		var s submission
		err := binary.Read(d.cable, binary.BigEndian, &s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r, in := result{Message: unlinkedAnswer, Number: s.Number}, []byte(nil)
		if s.Message == submitMessage {
			if r, in, err = d.transfer(s); err != nil {
				return err
			}
		}
		b, err := binary.Append(nil, binary.BigEndian, r)
		if err != nil {
			return err
		}
		if _, err := d.cable.Write(append(b, in...)); err != nil {
			return err
		}
	}
}

// transfer does a transfer. All are control ones.
func (d *usbDevice) transfer(s submission) (r result, in []byte, err error) {
	var out []byte
	if s.In == 0 {
		out = make([]byte, s.Length)
		if _, err := io.ReadFull(d.cable, out); err != nil {
			return result{}, nil, err
		}
	}
	var request setup
	if _, err := binary.Decode(s.Setup[:], binary.LittleEndian, &request); err != nil {
		return result{}, nil, err
	}
	r = result{Message: submittedAnswer, Number: s.Number, Length: uint32(len(out))}
	in, ok := d.control(request, out)
	if !ok {
		r.Status, r.Length = -int32(unix.EPIPE), 0 // a stall
		return r, nil, nil
	}
	if s.In == 0 {
		return r, nil, nil
	}
	in = in[:min(len(in), int(s.Length))]
	r.Length = uint32(len(in))
	return r, in, nil
}

// control answers the requests of USB's standard that Linux makes.
func (d *usbDevice) control(s setup, out []byte) (in []byte, ok bool) {
	const toDevice, fromDevice = 0x00, 0x80
	const getStatus, getDescriptor, setConfiguration = 0, 6, 9
	const device, configuration = 1, 2
	switch {
	case s.Type == fromDevice && s.Request == getDescriptor && s.Value == device<<8:
		return []byte{
			18, device, 0x10, 0x01, 0, 0, 0, 64,
			byte(d.vendor), byte(d.vendor >> 8), byte(d.product), byte(d.product >> 8), 0, 1, 0, 0, 0, 1,
		}, true
	case s.Type == fromDevice && s.Request == getDescriptor && s.Value == configuration<<8:
		return []byte{
			9, configuration, 18, 0, 1, 1, 0, 0x80, 50, // 100 mA
			9, 4, 0, 0, 0, 0xff, 0, 0, 0, // an interface
		}, true
	case s.Type == fromDevice && s.Request == getStatus:
		return []byte{0, 0}, true
	case s.Type == toDevice && s.Request == setConfiguration:
		return nil, true
	}
	return d.answer(s, out)
}
