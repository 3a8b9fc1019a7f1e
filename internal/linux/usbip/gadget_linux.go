package usbip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Gadget is a gadget on a virtual device controller of this machine.
type Gadget struct{ dir string }

// OpenGadget finds the machine's virtual device controller, the first of
// usbip-vudc.
func OpenGadget() (Gadget, error) {
	g := Gadget{"/sys/devices/platform/" + BusID}
	if _, err := os.Stat(g.dir); err != nil {
		return Gadget{}, fmt.Errorf("no virtual USB device controller: %w: want the kernel module usbip-vudc", err)
	}
	return g, nil
}

// Device returns the gadget's description. The error matches [fs.ErrNotExist] as long
// as no gadget is bound to the device controller.
func (g Gadget) Device() (Device, error) {
	// A device descriptor, little-endian (USB 2.0, table 9-8).
	d, err := os.ReadFile(filepath.Join(g.dir, "dev_desc"))
	if errors.Is(err, unix.ENODEV) || err == nil && len(d) < 18 {
		return Device{}, fmt.Errorf("no gadget is bound to %s: %w", BusID, fs.ErrNotExist)
	}
	if err != nil {
		return Device{}, err
	}
	u16 := binary.LittleEndian.Uint16
	return Device{
		Bus: 1, Number: 1, Speed: HighSpeed,
		Class: d[4], SubClass: d[5], Protocol: d[6],
		Vendor: u16(d[8:]), Product: u16(d[10:]), Release: u16(d[12:]),
		Configurations: d[17],
	}, nil
}

// Export hands an end of a stream to the kernel, which from then on speaks for
// the gadget. The kernel keeps it until the other end is closed or the gadget
// goes away; socket may be closed at once.
func (g Gadget) Export(socket *os.File) error {
	if err := writeFD(filepath.Join(g.dir, "usbip_sockfd"), "%d", socket); err != nil {
		return fmt.Errorf("export the gadget on %s: %w", BusID, err)
	}
	return nil
}

// writeFD writes a line with a file descriptor to an attribute.
func writeFD(name, format string, socket *os.File, args ...any) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var failed error
	err = raw.Control(func(fd uintptr) {
		_, failed = fmt.Fprintf(f, format, append([]any{fd}, args...)...)
	})
	return errors.Join(err, failed)
}
