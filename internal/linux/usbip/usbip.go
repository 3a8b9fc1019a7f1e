// Package usbip passes a USB device through a stream of bytes, as Linux's USB/IP
// does over TCP (Documentation/usb/usbip_protocol.rst): one side has a device to
// export, the other asks for it and imports it. When both have agreed on what it
// is, each hands its end of the stream to its kernel.
//
// The exported device here is a gadget on a virtual device controller (usbip-vudc), the
// importer is a virtual host controller (vhci-hcd). Together they are a USB cable
// between two machines that have no USB.
package usbip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// version is the version of the protocol that the kernel's tools speak since 2011.
const version = 0x0111

// The messages before a stream is handed over.
const (
	importRequest = 0x8003
	importReply   = 0x0003
)

// BusID is the name by which an exporter with one device calls it.
const BusID = "usbip-vudc.0"

// A Speed is the speed of a device, by the kernel's number (enum usb_device_speed).
type Speed uint32

// Speeds that devices have: 1.5 Mb/s, 12 Mb/s, 480 Mb/s and 5 Gb/s.
const (
	LowSpeed   Speed = 1
	FullSpeed  Speed = 2
	HighSpeed  Speed = 3
	SuperSpeed Speed = 5
)

// A Device is the description of a device that an importer gets.
type Device struct {
	Bus, Number uint32 // where the exporter has it
	Speed       Speed

	Vendor, Product, Release  uint16
	Class, SubClass, Protocol uint8
	Configurations            uint8
}

// header begins every message. All numbers are big-endian.
type header struct {
	Version, Code uint16
	Status        uint32 // zero for success
}

type request struct {
	header
	BusID [32]byte
}

// record is the rest of a reply, 312 bytes (struct usbip_usb_device in the
// kernel's tools).
type record struct {
	Path                      [256]byte
	BusID                     [32]byte
	Bus, Number, Speed        uint32
	Vendor, Product, Release  uint16
	Class, SubClass, Protocol uint8
	Configuration             uint8 // the one that is chosen: none yet
	Configurations            uint8
	Interfaces                uint8
}

// ErrRefused says that the other side has no device to export.
var ErrRefused = errors.New("no device is exported")

// Ask asks the other side for its device.
func Ask(stream io.ReadWriter) (Device, error) {
	ask := request{header: header{version, importRequest, 0}}
	copy(ask.BusID[:], BusID)
	if err := send(stream, ask); err != nil {
		return Device{}, err
	}
	if err := expect(stream, importReply); err != nil {
		return Device{}, err
	}
	var r record
	if err := binary.Read(stream, binary.BigEndian, &r); err != nil {
		return Device{}, fmt.Errorf("USB/IP device: %w", cut(err))
	}
	return Device{
		Bus: r.Bus, Number: r.Number, Speed: Speed(r.Speed),
		Vendor: r.Vendor, Product: r.Product, Release: r.Release,
		Class: r.Class, SubClass: r.SubClass, Protocol: r.Protocol, Configurations: r.Configurations,
	}, nil
}

// Await waits until the other side asks for a device, which [Reply] tells it of.
func Await(stream io.Reader) error {
	if err := expect(stream, importRequest); err != nil {
		return err
	}
	var id [32]byte
	if _, err := io.ReadFull(stream, id[:]); err != nil {
		return fmt.Errorf("USB/IP request: %w", cut(err))
	}
	if name, _, _ := bytes.Cut(id[:], []byte{0}); string(name) != BusID {
		return fmt.Errorf("USB/IP request for device %q: want %s", name, BusID)
	}
	return nil
}

// Reply describes the device to the other side, which has asked for it.
func Reply(stream io.Writer, d Device) error {
	r := record{
		Bus: d.Bus, Number: d.Number, Speed: uint32(d.Speed), Vendor: d.Vendor, Product: d.Product, Release: d.Release,
		Class: d.Class, SubClass: d.SubClass, Protocol: d.Protocol, Configurations: d.Configurations,
	}
	copy(r.Path[:], "/sys/devices/platform/"+BusID)
	copy(r.BusID[:], BusID)
	return send(stream, struct {
		header
		record
	}{header{version, importReply, 0}, r})
}

// send writes a message in one piece.
func send(w io.Writer, message any) error {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, message); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// expect reads the header of the message with the given code.
func expect(r io.Reader, code uint16) error {
	var h header
	if err := binary.Read(r, binary.BigEndian, &h); err != nil {
		return fmt.Errorf("USB/IP message: %w", cut(err))
	}
	switch {
	case h.Version != version || h.Code != code:
		return fmt.Errorf("USB/IP message %04x of version %04x: want %04x of %04x", h.Code, h.Version, code, version)
	case h.Status != 0:
		return fmt.Errorf("USB/IP status %d: %w", h.Status, ErrRefused)
	}
	return nil
}

// cut marks an input that ends within a message as cut off.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
