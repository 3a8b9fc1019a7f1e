package usbip_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/pi/gadget"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine boots a virtual machine whose only program is this test: see
// [inMachine].
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{Modules: []string{
		"usbip-vudc", "vhci-hcd", "libcomposite", "usb_f_ncm", "usb_f_acm", "cdc_ncm", "cdc-acm",
	}})
}

// inMachine plugs a gadget of this machine into a port of this machine, takes it
// out and plugs it in again.
func inMachine(t *testing.T) {
	g, err := usbip.OpenGadget()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := g.Device(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Device() without a gadget = %+v, %v", d, err)
	}
	const settings = "/settings"
	if err := os.WriteFile(settings, []byte("TYPE=node\nID=7\nGADGET=ncm\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := gadget.Start(t.Context(), gadget.Options{Settings: settings}); err != nil {
		t.Fatal(report, err)
	}
	for range 2 {
		unplug := plug(t, g)
		wait("the node", func() bool { return glob("/sys/bus/usb/devices/*-*/*:1.0/net/*") && glob("/dev/ttyACM*") })
		if vendor, _ := os.ReadFile("/sys/bus/usb/devices/1-2/idVendor"); string(vendor) != "3171\n" {
			t.Errorf("on port 1 is vendor %q", vendor)
		}
		unplug()
		wait("its end", func() bool { return !glob("/dev/ttyACM*") })
	}
}

// plug connects the two ends of a cable and returns what pulls it out.
func plug(t *testing.T, g usbip.Gadget) (unplug func()) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "our end"), os.NewFile(uintptr(fds[1]), "their end")
	replied := make(chan error, 1)
	go func() {
		err := usbip.Await(theirs)
		d, deviceErr := g.Device()
		replied <- errors.Join(err, deviceErr, usbip.Reply(theirs, d))
	}()
	d, err := usbip.Ask(ours)
	if err := errors.Join(err, <-replied); err != nil {
		t.Fatal(err)
	}
	want := usbip.Device{1, 1, usbip.HighSpeed, 0x3171, 0x0021, 0x0100, 0xef, 2, 1, 1}
	if d != want {
		t.Errorf("asked for a device: %+v, want %+v", d, want)
	}
	// Each kernel needs a moment for the end of what was before.
	retry(func() error { return g.Export(theirs) })
	retry(func() error { return usbip.Port(1).Import(ours, d) })
	unplug = func() {
		unix.Shutdown(fds[0], unix.SHUT_RDWR)
		ours.Close()
		theirs.Close()
	}
	return unplug
}

// retry does something again until it succeeds. If it never does, the machine is
// silent, which ends the test outside; the console's last line says what failed.
func retry(do func() error) {
	for last := ""; ; time.Sleep(time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		if err.Error() != last {
			last = err.Error()
			fmt.Println("again, after:", last)
		}
	}
}

func glob(pattern string) bool {
	names, _ := filepath.Glob(pattern)
	return len(names) > 0
}

// wait waits until something is done. A machine that waits for ever is silent,
// which ends the test outside.
func wait(what string, done func() bool) {
	fmt.Println("waiting for", what)
	for !done() {
		time.Sleep(10 * time.Millisecond)
	}
}
