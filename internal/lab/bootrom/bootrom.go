// Package bootrom plays a Raspberry Pi without a card to a USB host: the program in
// the Pi's ROM, then bootcode.bin, then start.elf, each of which comes onto the bus,
// fetches files and leaves it again. The package was written from observations of these
// programs, not from the code of a program that serves them.
package bootrom

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"

	"clusterctrl/internal/lab/usb"
)

// Products of bare Pis.
const (
	Zero  uint16 = 0x2763 // BCM2835
	Zero2 uint16 = 0x2764 // BCM2837
)

const broadcom = 0x0a5c

// A Pi is a bare Pi on a USB port.
type Pi struct {
	Product    uint16
	Interfaces int // 1, or 2 as some Zero 2 W show them
	Refusals   int // how often the ROM refuses bootcode before it takes it
	Stalls     int // how often the ROM stalls before it takes the announcement of bootcode
	// Port keeps a device plugged into the Pi's port until ctx ends.
	Port func(ctx context.Context, d usb.Device) error
	// Files hears of each file that was fetched. It may be nil.
	Files func(name string, content []byte)
}

// on runs a program, and has its connection on the Pi's port meanwhile.
func (p *Pi) on(ctx context.Context, serial uint8, program func(context.Context, *connection) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := newConnection(p.Product, serial, p.Interfaces)
	pulled := make(chan error, 1)
	go func() {
		err := p.Port(ctx, c)
		cancel(err) // with the cable pulled, the program has no host
		pulled <- err
	}()
	err := program(ctx, c)
	cancel(nil)
	if portErr := <-pulled; err == nil {
		err = portErr
	}
	return err
}

// ROM plays the program in the ROM. It takes a message of 24 bytes, which begins with a
// length, then bootcode, which has that length, and answers 0.
func (p *Pi) ROM(ctx context.Context) (bootcode []byte, err error) {
	err = p.on(ctx, 0, func(ctx context.Context, c *connection) error {
		c.stalls.Store(int32(p.Stalls))
		for try := 0; ; try++ {
			head, err := c.take(ctx)
			if err != nil {
				return err
			}
			if len(head) != 24 {
				return fmt.Errorf("the host begins with %d bytes, want 24", len(head))
			}
			if bootcode, err = c.take(ctx); err != nil {
				return err
			}
			if n := binary.LittleEndian.Uint32(head); int(n) != len(bootcode) {
				return fmt.Errorf("%d bytes of bootcode came, where %d were announced", len(bootcode), n)
			}
			if try == p.Refusals {
				return c.say(ctx, message{text: []byte{0, 0, 0, 0}})
			}
			if err := c.say(ctx, message{text: []byte{1, 0, 0, 0}}); err != nil {
				return err
			}
		}
	})
	p.heard("bootcode.bin", bootcode)
	return bootcode, err
}

func (p *Pi) heard(name string, content []byte) {
	if p.Files != nil {
		p.Files(name, content)
	}
}

// Commands of the programs that fetch files.
const (
	askSize = 0
	askFile = 1
	done    = 2
)

// A Host gives files to a program.
type Host struct {
	pi   *Pi
	ctx  context.Context
	conn *connection
}

// Run plays a program that fetches files and then tells the host that it is done.
func (p *Pi) Run(ctx context.Context, program func(*Host) error) error {
	return p.on(ctx, 1, func(ctx context.Context, c *connection) error {
		if err := program(&Host{p, ctx, c}); err != nil {
			return err
		}
		return c.say(ctx, ask(done, ""))
	})
}

// Say sends any bytes, to see whether a host survives them.
func (h *Host) Say(text []byte) error { return h.conn.say(h.ctx, message{text: text}) }

// Fetch asks for a file as a Pi's programs do: for its size, then for its content. The error
// is [fs.ErrNotExist] if the host does not have the file.
func (h *Host) Fetch(name string) ([]byte, error) {
	size, err := h.conn.answer(h.ctx, ask(askSize, name))
	if err != nil {
		return nil, err
	}
	if len(size) == 0 {
		return nil, &fs.PathError{Op: "fetch", Path: name, Err: fs.ErrNotExist}
	}
	content, err := h.conn.answer(h.ctx, ask(askFile, name))
	if err != nil {
		return nil, err
	}
	if len(content) != len(size) {
		return nil, fmt.Errorf("%s: %d bytes came, after a size of %d", name, len(content), len(size))
	}
	h.pi.heard(name, content)
	return content, nil
}

// ask is a message of 260 bytes: a command and a name.
func ask(command uint32, name string) message {
	text := make([]byte, 260)
	binary.LittleEndian.PutUint32(text, command)
	copy(text[4:], name)
	return message{text, command == askSize}
}

// say returns when the host has the message, so that the program may leave the bus.
func (c *connection) say(ctx context.Context, m message) error {
	select {
	case c.says <- m:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-c.said:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *connection) take(ctx context.Context) ([]byte, error) {
	select {
	case content := <-c.gets:
		return content, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *connection) answer(ctx context.Context, m message) ([]byte, error) {
	if err := c.say(ctx, m); err != nil {
		return nil, err
	}
	return c.take(ctx)
}
