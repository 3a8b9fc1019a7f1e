package usb

import (
	"encoding/binary"
	"unicode/utf16"

	"clusterctrl/internal/linux/usbip"
)

// Descriptors say what a device is. They may be false, to play real devices whose
// descriptors are.
type Descriptors struct {
	Speed         usbip.Speed // HighSpeed at most
	Device        DeviceDescriptor
	Configuration []byte           // the only configuration, with its interfaces: see [Configuration]
	Strings       map[uint8]string // by their indices, which begin with 1
}

// A DeviceDescriptor is a device descriptor without its first two bytes (USB 2.0, table
// 9-8).
type DeviceDescriptor struct {
	USB                         uint16 // the version of USB, 0x0200 for 2.0
	Class, SubClass, Protocol   uint8
	MaxPacket                   uint8 // of the control endpoint: 64, or 8 for a device of low speed
	Vendor, Product, Release    uint16
	ManufacturerString          uint8 // an index of Strings, or 0
	ProductString, SerialString uint8
	Configurations              uint8 // 1
}

// Types of descriptors (USB 2.0, table 9-5).
const (
	deviceType        = 1
	configurationType = 2
	stringType        = 3
	interfaceType     = 4
	endpointType      = 5
)

func (d DeviceDescriptor) bytes() []byte { return descriptor(deviceType, d) }

// descriptor puts length and type before a body, which is a struct of fixed size.
func descriptor(kind byte, body any) []byte {
	b, err := binary.Append([]byte{0, kind}, binary.LittleEndian, body)
	if err != nil {
		panic(err) // each body is a struct of this file, of fixed size
	}
	b[0] = byte(len(b))
	return b
}

// An Interface is an interface of a device.
type Interface struct {
	Class, SubClass, Protocol uint8 // 0xff stands for one that the vendor defines
	Endpoints                 []Endpoint
}

// An Endpoint is an endpoint of an interface (USB 2.0, table 9-13).
type Endpoint struct {
	Address    uint8 // its number, plus 0x80 if data goes to the host
	Attributes uint8 // Bulk or Interrupt
	MaxPacket  uint16
	Interval   uint8
}

// Kinds of endpoints.
const (
	Bulk      = 2
	Interrupt = 3
)

// Configuration makes the descriptor of a configuration with these interfaces, for
// a device that is powered by the bus.
func Configuration(interfaces ...Interface) []byte {
	var parts []byte
	for n, i := range interfaces {
		parts = append(parts, descriptor(interfaceType, [7]uint8{uint8(n), 0, uint8(len(i.Endpoints)), i.Class, i.SubClass, i.Protocol, 0})...)
		for _, e := range i.Endpoints {
			parts = append(parts, descriptor(endpointType, e)...)
		}
	}
	const busPowered, current = 0x80, 100 / 2 // mA
	head := descriptor(configurationType, struct {
		Total                                         uint16
		Interfaces, Number, Name, Attributes, Current uint8
	}{Total: uint16(9 + len(parts)), Interfaces: uint8(len(interfaces)), Number: 1, Attributes: busPowered, Current: current})
	return append(head, parts...)
}

// text is the descriptor of a string. String 0 is the list of languages.
func (d Descriptors) text(index uint8) ([]byte, error) {
	const english = 0x0409
	if index == 0 {
		return descriptor(stringType, uint16(english)), nil
	}
	text, ok := d.Strings[index]
	if !ok {
		return nil, ErrStall
	}
	units := utf16.Encode([]rune(text))
	return descriptor(stringType, units[:min(len(units), 126)]), nil
}

// record is what a host is told of the device before it imports it.
func (d Descriptors) record() usbip.Device {
	return usbip.Device{
		Bus: 1, Number: 1, Speed: d.Speed,
		Vendor: d.Device.Vendor, Product: d.Device.Product, Release: d.Device.Release,
		Class: d.Device.Class, SubClass: d.Device.SubClass, Protocol: d.Device.Protocol,
		Configurations: d.Device.Configurations,
	}
}
