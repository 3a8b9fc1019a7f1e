// Package usb plays USB devices: a program is the device, and a kernel is the host, by
// its virtual host controller (vhci-hcd). They talk USB/IP over any stream of bytes: a
// socket to the kernel of the same machine ([Plug]), or a cable of the lab ([Serve]).
//
// A played device can do all that a real one can do to a host: stall, be slow, send
// nonsense, and be pulled out in the middle of a transfer. It has control transfers and
// bulk endpoints. Interrupt endpoints work as bulk endpoints do.
package usb

import (
	"context"
	"errors"
)

// A Device is a USB device that a program plays. The package answers the standard requests
// of USB itself, by the device's descriptors.
//
// The transfers of one endpoint come one after the other, transfers of different
// endpoints at the same time. Each may take as long as it likes: the host waits.
// When the host takes the transfer back, or the plug is pulled, ctx ends, and what
// the method returns is dropped.
//
// A method returns [ErrStall] to refuse a transfer. An endpoint other than the control
// endpoint then refuses all further transfers, until the host clears it. Any other error
// means that the transfer failed on the wire.
type Device interface {
	Descriptors() Descriptors

	// Control answers a control request that is not a standard one. Either the host has
	// sent out, or it gets in, cut to the length that it asked for.
	Control(ctx context.Context, s Setup, out []byte) (in []byte, err error)

	// Out takes what the host sends to an endpoint, which is 1 to 15.
	Out(ctx context.Context, endpoint uint8, data []byte) error

	// In returns what the device sends to the host from an endpoint, which is 1 to
	// 15: length bytes, or fewer if that is all.
	In(ctx context.Context, endpoint uint8, length int) ([]byte, error)
}

// ErrStall is a device's refusal.
var ErrStall = errors.New("USB stall")

// A Setup begins a control transfer (USB 2.0, 9.3).
type Setup struct {
	Type, Request        uint8
	Value, Index, Length uint16
}

// Types of requests to a vendor's own device, to and from the device and an
// interface of it (USB 2.0, table 9-2).
const (
	VendorOut          = 0x40
	VendorOutInterface = 0x41
	VendorIn           = 0xc0
	VendorInInterface  = 0xc1
)

// A Listener is a device that is told when the answer to a transfer is on its way to the
// host. It may then leave the bus, for instance.
type Listener interface {
	Answered(endpoint uint8)
}

// ControlOnly is for embedding, by devices with no other endpoint than the control
// endpoint.
type ControlOnly struct{}

func (ControlOnly) Out(context.Context, uint8, []byte) error       { return ErrStall }
func (ControlOnly) In(context.Context, uint8, int) ([]byte, error) { return nil, ErrStall }
