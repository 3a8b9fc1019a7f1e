package rpiboot

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// vendor is Broadcom.
const vendor = 0x0a5c

// chips has, for each product that boots over USB, the directory in an overlay with the
// chip's own files. The chip of the Zero and the first Pi has none.
var chips = map[uint16]string{
	0x2763: "",     // BCM2835, BCM2836
	0x2764: "2710", // BCM2837, BCM2710
	0x2711: "2711",
	0x2712: "2712",
}

// deviceDescriptor is what a USB device says of itself (USB 2.0, table 9-8).
type deviceDescriptor struct {
	Length, Type                         uint8
	USB                                  uint16
	Class, SubClass, Protocol, MaxPacket uint8
	Vendor, Product, Device              uint16
	Manufacturer, ProductName, Serial    uint8
	Configurations                       uint8
}

// configurationDescriptor is the header of a configuration (table 9-10).
type configurationDescriptor struct {
	Length, Type                        uint8
	TotalLength                         uint16
	Interfaces, Value, Name, Attributes uint8
	MaxPower                            uint8
}

// A Pi is what a bare Pi says of itself when it comes onto the bus.
type Pi struct {
	Chip      string // directory of the chip's own files in an overlay, "" for none
	InROM     bool   // its ROM runs, which wants bootcode; else a program that asks for files
	Interface int    // which a program has to claim
	Endpoint  uint8  // for bulk transfers to the Pi
}

// romSerials are the indices that the ROM has for the string with the serial number. The
// programs that it starts have another one.
var romSerials = []uint8{0, 3}

// ParseDescriptors reads the descriptors of a USB device as usbfs has them. ok is
// false for a device that is no bare Pi.
func ParseDescriptors(raw []byte) (pi Pi, ok bool, err error) {
	var d deviceDescriptor
	n, err := binary.Decode(raw, binary.LittleEndian, &d)
	if err != nil {
		return Pi{}, false, fmt.Errorf("device descriptor of %d bytes: %w", len(raw), err)
	}
	chip, known := chips[d.Product]
	if d.Vendor != vendor || !known {
		return Pi{}, false, nil
	}
	// The number of interfaces is taken from the header. The rest is shorter than the
	// header says, and Linux, which reads that, misses an interface.
	var c configurationDescriptor
	if _, err := binary.Decode(raw[n:], binary.LittleEndian, &c); err != nil {
		return Pi{}, false, fmt.Errorf("configuration descriptor of %d bytes: %w", len(raw)-n, err)
	}
	pi = Pi{Chip: chip, InROM: slices.Contains(romSerials, d.Serial), Interface: 0, Endpoint: 1}
	if c.Interfaces == 2 {
		pi.Interface, pi.Endpoint = 1, 3
	}
	return pi, true, nil
}
