// Package board plays the boards that switch nodes: the firmware of ClusterCTRL
// boards, and the expander of a ClusterHAT. A board is a chip on an I2C bus, which
// is a USB device that Linux has a driver for (i2c-tiny-usb). Real ClusterCTRL boards are
// such devices; the bus of a real ClusterHAT is a part of the Pi.
//
// A played board notes all writes to its registers in a journal, and can be made to fail:
// see [Bus.Answer] and the fields of [Firmware] and [HAT].
package board

import (
	"context"
	"encoding/binary"
	"sync"

	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/usbip"
)

// Address is the address of the only chip on each bus.
const Address = 0x20

// A Chip is a chip on an I2C bus. Its methods return false for "not acknowledged". They are
// called one at a time.
type Chip interface {
	Write(data []byte) bool
	Read(data []byte) bool
}

// A Bus is a USB device that is an I2C bus with one chip.
type Bus struct {
	usb.ControlOnly
	Vendor, Product uint16
	Chip            Chip

	// Answer says before each message on the bus whether the message is answered. It may
	// be slow, and may pull the plug. If it is nil, all messages for the chip are answered.
	Answer func(Message) bool

	mu       sync.Mutex
	messages int
	answered bool // whether the last message was answered
}

// A Message is a write or a read on an I2C bus. Linux reads registers by two messages: a
// write of the first register's number, and a read.
type Message struct {
	Number  int // of messages on the bus before this one
	Address uint16
	Read    bool
	Data    []byte // of a write
}

func (b *Bus) Descriptors() usb.Descriptors {
	return usb.Descriptors{
		Speed:         usbip.LowSpeed,
		Device:        usb.DeviceDescriptor{USB: 0x0110, MaxPacket: 8, Vendor: b.Vendor, Product: b.Product, Release: 0x0100, Configurations: 1},
		Configuration: usb.Configuration(usb.Interface{Class: 0xff}),
	}
}

// Requests of the driver (drivers/i2c/busses/i2c-tiny-usb.c). The low bits of requests
// with messages say whether a transaction begins or ends.
const (
	capabilities = 1
	setDelay     = 2
	status       = 3
	message      = 4
	beginOrEnd   = 3
)

// Answers to the driver: the bus can do plain I2C, and SMBus by means of I2C
// (linux/i2c.h); and whether the last message was acknowledged.
const (
	plainI2C        = 0x00000001
	emulatedSMBus   = 0x0eff0008
	acknowledged    = 1
	notAcknowledged = 2
)

// Control does what the driver asks for.
func (b *Bus) Control(_ context.Context, s usb.Setup, out []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	request := s.Request
	if request >= message {
		request &^= beginOrEnd
	}
	switch {
	case s.Type == usb.VendorInInterface && request == capabilities:
		return binary.LittleEndian.AppendUint32(nil, plainI2C|emulatedSMBus), nil
	case s.Type == usb.VendorOutInterface && request == setDelay:
		return nil, nil
	case s.Type == usb.VendorInInterface && request == status && b.answered:
		return []byte{acknowledged}, nil
	case s.Type == usb.VendorInInterface && request == status:
		return []byte{notAcknowledged}, nil
	case s.Type == usb.VendorOutInterface && request == message:
		b.answered = b.reaches(Message{Address: s.Index, Data: out}) && b.Chip.Write(out)
		return nil, nil
	case s.Type == usb.VendorInInterface && request == message:
		in := make([]byte, s.Length)
		b.answered = b.reaches(Message{Address: s.Index, Read: true}) && b.Chip.Read(in)
		return in, nil
	}
	return nil, usb.ErrStall
}

// reaches reports whether a message gets to the chip.
func (b *Bus) reaches(m Message) bool {
	m.Number = b.messages
	b.messages++
	return (b.Answer == nil || b.Answer(m)) && m.Address == Address
}
