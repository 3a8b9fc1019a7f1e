package usb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"clusterctrl/internal/linux/usbip"
)

// Messages of USB/IP once a device is imported
// (Documentation/usb/usbip_protocol.rst). All numbers are big-endian, except in a setup.
const (
	submitMessage = 1 // the host wants a transfer
	unlinkMessage = 2 // the host takes a transfer back
	submitReply   = 3
	unlinkReply   = 4
)

// Results of a transfer: negative errno values, those of Linux whatever system plays the
// device.
const (
	statusStall = -32  // EPIPE
	statusBad   = -71  // EPROTO
	statusTaken = -104 // ECONNRESET
)

// A command is a message from the host.
type command struct {
	Message, Number, Device, In, Endpoint uint32
	Flags                                 uint32 // of an unlinkMessage: the number of the transfer
	Length                                uint32
	StartFrame, Packets, Interval         uint32
	Setup                                 [8]byte
}

// A reply is a message to the host.
type reply struct {
	Message, Number, Device, In, Endpoint uint32
	Status                                int32
	Length                                uint32
	StartFrame, Packets, Errors           uint32
	Setup                                 [8]byte
}

// maxTransfer bounds a transfer, in bytes, as Linux does for programs (usbfs).
const maxTransfer = 16 << 20

// Serve plays a device to the side that asks for it over stream, until the stream
// ends.
func Serve(stream io.ReadWriter, d Device) error {
	err := usbip.Await(stream)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // no host has asked
	}
	if err != nil {
		return err
	}
	if usbip.Reply(stream, d.Descriptors().record()) != nil {
		return nil // the host went before it had the answer
	}
	return play(stream, d)
}

// play plays a device that was imported.
func play(stream io.ReadWriter, d Device) error {
	ctx, unplugged := context.WithCancel(context.Background())
	p := &player{
		device: d, stream: stream, ctx: ctx,
		last: map[endpoint]chan struct{}{}, halted: map[endpoint]bool{}, pending: map[uint32]*transfer{},
	}
	err := p.listen()
	unplugged()
	p.running.Wait()
	return err
}

// An endpoint is an endpoint of a device, in one direction.
type endpoint struct {
	number uint8
	in     bool
}

// A player is a device that is plugged in.
type player struct {
	device  Device
	ctx     context.Context            // ends when the plug is pulled
	last    map[endpoint]chan struct{} // by endpoint: closed when the newest transfer is over
	running sync.WaitGroup

	mu      sync.Mutex // held while a reply is decided on and sent
	stream  io.ReadWriter
	pending map[uint32]*transfer // transfers without an answer yet, by number
	halted  map[endpoint]bool
}

// A transfer is a transfer that the host has asked for.
type transfer struct {
	takeBack context.CancelFunc
	over     chan struct{} // nil until the device is asked, closed when the device has answered
}

// listen does what the host says until the stream ends.
func (p *player) listen() error {
	for {
		var c command
		if binary.Read(p.stream, binary.BigEndian, &c) != nil {
			return nil // the plug was pulled, at whatever point of a message
		}
		var err error
		switch c.Message {
		case submitMessage:
			err = p.submit(c)
		case unlinkMessage:
			err = p.unlink(c)
		default:
			err = fmt.Errorf("USB/IP message %d: want %d or %d", c.Message, submitMessage, unlinkMessage)
		}
		if err != nil {
			return err
		}
	}
}

// submit begins a transfer, which comes after all earlier ones of its endpoint.
func (p *player) submit(c command) error {
	if c.Length > maxTransfer {
		return fmt.Errorf("USB/IP transfer of %d bytes: want %d at most", c.Length, maxTransfer)
	}
	if c.Endpoint > 15 {
		return fmt.Errorf("USB/IP endpoint %d: want 15 at most", c.Endpoint)
	}
	e := endpoint{uint8(c.Endpoint), c.In != 0}
	if e.number == 0 {
		e.in = false // control transfers of both directions come one after the other
	}
	var out []byte
	if c.In == 0 {
		out = make([]byte, c.Length)
		if _, err := io.ReadFull(p.stream, out); err != nil {
			return nil // the plug was pulled, as listen finds next
		}
	}
	ctx, cancel := context.WithCancel(p.ctx)
	before, done := p.last[e], make(chan struct{})
	p.last[e] = done
	p.mu.Lock()
	t := &transfer{takeBack: cancel}
	p.pending[c.Number] = t
	p.mu.Unlock()
	p.running.Go(func() {
		defer close(done)
		defer cancel()
		if before != nil {
			<-before
		}
		if !p.begin(ctx, t) {
			return // taken back before its turn, or unplugged
		}
		in, err := p.transfer(ctx, e, c, out)
		if err == nil || ctx.Err() == nil {
			p.answer(e, c, in, err)
		}
		close(t.over)
		if l, ok := p.device.(Listener); ok {
			l.Answered(e.number)
		}
	})
	return nil
}

// begin reports whether the device is to be asked: no, if the host has taken the transfer
// back.
func (p *player) begin(ctx context.Context, t *transfer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	t.over = make(chan struct{})
	return true
}

// transfer has the device do a transfer.
func (p *player) transfer(ctx context.Context, e endpoint, c command, out []byte) ([]byte, error) {
	if e.number == 0 {
		var s Setup
		if _, err := binary.Decode(c.Setup[:], binary.LittleEndian, &s); err != nil {
			return nil, err
		}
		return p.control(ctx, s, out)
	}
	p.mu.Lock()
	halted := p.halted[e]
	p.mu.Unlock()
	switch {
	case halted:
		return nil, ErrStall
	case e.in:
		return p.device.In(ctx, e.number, int(c.Length))
	default:
		return nil, p.device.Out(ctx, e.number, out)
	}
}

// answer tells the host the result of a transfer. If the host has gone, listen notices.
func (p *player) answer(e endpoint, c command, in []byte, err error) {
	r := reply{Message: submitReply, Number: c.Number}
	switch {
	case errors.Is(err, ErrStall):
		r.Status, in = statusStall, nil
	case err != nil:
		r.Status, in = statusBad, nil
	case c.In == 0:
		r.Length, in = c.Length, nil
	default:
		in = in[:min(len(in), int(c.Length))]
		r.Length = uint32(len(in))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, c.Number)
	if r.Status == statusStall && e.number != 0 {
		p.halted[e] = true
	}
	p.send(r, in)
}

// unlink takes back a transfer, unless the device answers that first. It tells the host only
// once the device has given the transfer up: else the device could take the data of the
// next transfer for that of this one.
func (p *player) unlink(c command) error {
	p.mu.Lock()
	var over chan struct{}
	if t := p.pending[c.Flags]; t != nil {
		t.takeBack()
		over = t.over
	}
	p.mu.Unlock()
	if over != nil {
		<-over
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := reply{Message: unlinkReply, Number: c.Number}
	if p.pending[c.Flags] != nil {
		delete(p.pending, c.Flags)
		r.Status = statusTaken
	}
	p.send(r, nil)
	return nil
}

// send sends a reply at once.
func (p *player) send(r reply, in []byte) {
	b, err := binary.Append(nil, binary.BigEndian, r)
	if err != nil {
		panic(err) // a reply has a fixed size
	}
	p.stream.Write(append(b, in...))
}
