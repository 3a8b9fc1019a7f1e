package bootrom

import (
	"context"
	"fmt"
	"sync/atomic"

	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/usbip"
)

// A connection is the USB device that a program of a Pi is to its host. It is between the
// two: the program's messages and the host's answers pass through channels, one at a time.
type connection struct {
	product    uint16
	serial     uint8 // index of the serial number's string
	interfaces int

	says chan message // what the program says to the host
	gets chan []byte  // what the host has sent or, for an answer that is a length, so many zeros

	saying bool          // the control transfer under way has what the program says
	said   chan struct{} // gets a value when the host has what the program says

	stalls atomic.Int32 // how many announcements are still to be refused

	lengthOnly bool // the answer to the last message is a length alone
	missing    int  // bytes that are announced and have not come yet
	content    []byte
}

// A message is what a program says, and whether the answer to it is a length alone.
type message struct {
	text       []byte
	lengthOnly bool
}

func newConnection(product uint16, serial uint8, interfaces int) *connection {
	return &connection{product: product, serial: serial, interfaces: interfaces, says: make(chan message), gets: make(chan []byte), said: make(chan struct{}, 1)}
}

// Descriptors implements [usb.Device].
func (c *connection) Descriptors() usb.Descriptors {
	var all []usb.Interface
	for i := range c.interfaces {
		out := uint8(1 + 2*i)
		all = append(all, usb.Interface{Class: 0xff, Endpoints: []usb.Endpoint{
			{Address: out, Attributes: usb.Bulk, MaxPacket: 512},
			{Address: 0x80 | out + 1, Attributes: usb.Bulk, MaxPacket: 512},
		}})
	}
	return usb.Descriptors{
		Speed: usbip.HighSpeed,
		Device: usb.DeviceDescriptor{
			USB: 0x0200, MaxPacket: 64, Vendor: broadcom, Product: c.product, Release: 1,
			SerialString: c.serial, Configurations: 1,
		},
		Configuration: usb.Configuration(all...),
		Strings:       map[uint8]string{1: "Broadcom", 3: "Broadcom"},
	}
}

// Control implements [usb.Device]: the host announces what it sends, or reads what
// the program says. The host's transfers come one after the other.
func (c *connection) Control(ctx context.Context, s usb.Setup, _ []byte) ([]byte, error) {
	length := int(s.Value) | int(s.Index)<<16
	switch {
	case s.Request != 0:
		return nil, usb.ErrStall
	case s.Type == usb.VendorOut && c.stalls.Load() > 0:
		c.stalls.Add(-1)
		return nil, usb.ErrStall
	case s.Type == usb.VendorOut && c.missing == 0:
		return nil, c.announced(ctx, length)
	case s.Type == usb.VendorIn && c.missing == 0:
		select {
		case m := <-c.says:
			c.lengthOnly, c.saying = m.lengthOnly, true
			return m.text[:min(length, len(m.text))], nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("request type %#x while %d bytes are missing: %w", s.Type, c.missing, usb.ErrStall)
}

// announced takes the length of what the host sends next. If the length itself is the
// answer, the program gets so many zeros.
func (c *connection) announced(ctx context.Context, length int) error {
	if c.lengthOnly || length == 0 {
		return c.give(ctx, make([]byte, length))
	}
	c.content, c.missing = make([]byte, 0, length), length
	return nil
}

func (c *connection) give(ctx context.Context, content []byte) error {
	select {
	case c.gets <- content:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Out implements [usb.Device].
func (c *connection) Out(ctx context.Context, endpoint uint8, data []byte) error {
	if len(data) > c.missing || int(endpoint) != 2*c.interfaces-1 {
		return fmt.Errorf("%d bytes to endpoint %d, where %d were announced: %w", len(data), endpoint, c.missing, usb.ErrStall)
	}
	c.content = append(c.content, data...)
	if c.missing -= len(data); c.missing > 0 {
		return nil
	}
	return c.give(ctx, c.content)
}

// Answered implements [usb.Listener].
func (c *connection) Answered(endpoint uint8) {
	if endpoint == 0 && c.saying {
		c.saying = false
		c.said <- struct{}{}
	}
}

// In implements [usb.Device]. No program of a Pi uses its endpoint to the host.
func (c *connection) In(ctx context.Context, _ uint8, _ int) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
