package rpiboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbfs"
)

// sysDevices is where the kernel lists what is on its buses, by path.
const sysDevices = "/sys/bus/usb/devices"

var usbDevices = sysDevices // tests have a list of their own

// Run serves every bare Pi that is or comes onto a bus, all at the same time, until
// ctx ends or, if Once is set, a Pi has its system. One Pi's failure is reported and
// does not disturb the others; with Once it is returned.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := bus{server: s, end: cancel, known: map[address]bool{}}
	err := uevent.Wait(ctx, b.look, "usb")
	if errors.Is(err, errServed) {
		return nil
	}
	return err
}

// errServed ends a service that was wanted once.
var errServed = errors.New("a Pi has got its system")

// An address is a device's place and the number that it has while it stays there.
type address struct {
	path        string
	bus, number int
}

// A bus is what a server knows of the devices on the machine's buses.
type bus struct {
	server *Server
	end    context.CancelCauseFunc

	known map[address]bool // devices that are there and were looked at before
}

// look starts to serve the Pis that are new.
func (b *bus) look() (done bool, err error) {
	devices, err := filepath.Glob(filepath.Join(usbDevices, "*"))
	if err != nil {
		return false, err
	}
	there := map[address]bool{}
	for _, dir := range devices {
		a, ok := candidate(dir)
		if !ok {
			continue
		}
		if b.known[a] || configured(dir) {
			there[a] = true
		}
		if there[a] && !b.known[a] {
			go b.serve(a)
		}
	}
	b.known = there
	return false, nil
}

// candidate reads the address of a device that may be a bare Pi.
func candidate(dir string) (address, bool) {
	if attribute(dir, "idVendor") != fmt.Sprintf("%04x", vendor) {
		return address{}, false
	}
	bus, err := strconv.Atoi(attribute(dir, "busnum"))
	number, err2 := strconv.Atoi(attribute(dir, "devnum"))
	return address{filepath.Base(dir), bus, number}, errors.Join(err, err2) == nil
}

// configured reports whether the kernel has chosen a device's configuration, without
// which there is no interface to claim. The kernel tells of a new device before it
// chooses, and of the device's interfaces afterwards.
func configured(dir string) bool { return attribute(dir, "bConfigurationValue") != "" }

// attribute returns what sysfs says, nothing of a device that has gone.
func attribute(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text))
}

// serve serves the device at an address for as long as it is there.
func (b *bus) serve(a address) {
	last, err := b.server.serveDevice(a)
	if err != nil {
		b.server.Report(Event{Path: a.path, Step: Failed, Err: err})
	}
	switch {
	case !b.server.Once:
	case err != nil:
		b.end(fmt.Errorf("%s: %w", a.path, err))
	case last:
		b.end(errServed)
	}
}

func (s *Server) serveDevice(a address) (last bool, err error) {
	device, err := usbfs.Open(a.bus, a.number)
	if err != nil {
		return false, err
	}
	defer device.Close()
	raw, err := device.Descriptors()
	if err != nil {
		return false, err
	}
	pi, ok, err := ParseDescriptors(raw)
	if err != nil || !ok {
		return false, err
	}
	s.Report(Event{Path: a.path, Step: Found})
	if err := device.Claim(pi.Interface); err != nil {
		return false, err
	}
	for try := 1; ; try++ {
		last, err = s.serve(a.path, pi, transport{device})
		switch {
		case err == nil:
			return last, nil
		case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ESHUTDOWN):
			return false, fmt.Errorf("the Pi has gone: %w", err)
		case !pi.InROM || try == romTries:
			return false, err
		}
		s.Report(Event{Path: a.path, Step: Retried, Err: err})
	}
}

// romTries is how often bootcode is sent to a ROM that does not take it: some Zero 2 W
// stall for a while. Files are not sent again after a failure, since the server cannot
// tell which message of the Pi comes next.
const romTries = 5

// A transport is a device as the protocol uses it.
type transport struct{ device *usbfs.Device }

// The types of a vendor's request to and from a device (USB 2.0, table 9-2).
const (
	vendorOut = 0x40
	vendorIn  = 0xc0
)

func (t transport) Control(in bool, value, index uint16, data []byte, timeout time.Duration) (int, error) {
	setup := usbfs.Setup{RequestType: vendorOut, Value: value, Index: index}
	if in {
		setup.RequestType = vendorIn
	}
	return t.device.Control(setup, data, timeout)
}

func (t transport) BulkOut(endpoint uint8, data []byte, timeout time.Duration) (int, error) {
	return t.device.Bulk(endpoint, data, timeout)
}
