// Package cable is the USB cable between two virtual machines.
//
// In each machine an [End] is connected with the kernel: the node's with a
// virtual device controller, the controller's with a virtual host controller (see
// package usbip). An End talks to the [Cable], which is where the machines run,
// over a stream that is there as long as the machine is on. The Cable connects them
// when both machines are on and its plug is in.
package cable

import (
	"errors"
	"io"
	"math"
	"sync"
)

// A Side is an end of a cable. A cable's ends are not the same.
type Side int

// Node is the end with the device, Controller the one with the host.
const (
	Node Side = iota
	Controller
)

// A Cable joins a node and a controller. The zero Cable is pulled out.
type Cable struct {
	mu      sync.Mutex
	in      bool
	hubOff  bool
	ends    [2]end // nil if the machine is off
	session uint32 // the last
	live    bool   // whether it goes on
}

// Plug plugs the cable in or pulls it out.
func (c *Cable) Plug(in bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = in
	c.update()
}

// Replug pulls the cable out and plugs it in again, if it is in.
func (c *Cable) Replug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.update()
}

// SwitchHub switches the port of the hub that the plug is in. It is on at first.
func (c *Cable) SwitchHub(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hubOff = !on
	c.update()
}

// IsIn reports whether the plug is in.
func (c *Cable) IsIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in
}

// Connected reports whether the plug is in, and both machines and the hub are on.
func (c *Cable) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live
}

// Serve passes on the machine's messages, and tells the machine when the plug goes in or
// out, until the stream to it ends, as when the machine goes off. Then it closes the
// stream. Each side has one stream at a time.
func (c *Cable) Serve(side Side, stream io.ReadWriteCloser) error {
	w := newWire(stream)
	c.set(side, w)
	err := c.relay(side, stream)
	c.unset(side, w)
	return errors.Join(err, w.close())
}

func (c *Cable) set(side Side, e end) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.ends[side] = e
	c.update()
}

// unset takes an end away, unless another has come in its place.
func (c *Cable) unset(side Side, e end) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends[side] == e {
		c.end()
		c.ends[side] = nil
	}
}

// An end is where a side's messages go.
type end interface {
	tell(frame) // of a session that begins or is over; does not wait
	send(frame) // with what the other side says
}

// relay passes on a machine's messages.
func (c *Cable) relay(side Side, stream io.Reader) error {
	for {
		f, err := readFrame(stream)
		if errors.Is(err, errFrame) {
			return err
		}
		if err != nil {
			return nil // the machine went off, wherever it was
		}
		switch f.kind {
		case payload:
			if other := c.peer(side, f.session); other != nil {
				other.send(f)
			}
		case hungUp:
			c.restart(f.session)
		}
	}
}

// peer returns the end that a message of a session is for, if it still is.
func (c *Cable) peer(side Side, session uint32) end {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live || session != c.session {
		return nil
	}
	return c.ends[1-side]
}

// restart begins a new session after one in which a side has let go.
func (c *Cable) restart(session uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live && session == c.session {
		c.end()
		c.update()
	}
}

// update begins or ends the session, as it should be.
func (c *Cable) update() {
	wanted := c.in && !c.hubOff && c.ends[Node] != nil && c.ends[Controller] != nil
	switch {
	case !wanted:
		c.end()
	case !c.live:
		c.live = true
		c.session++
		// The controller speaks first: by then the node must know of the session.
		for _, side := range []Side{Node, Controller} {
			c.ends[side].tell(frame{c.session, plugged, nil})
		}
	}
}

func (c *Cable) end() {
	if !c.live {
		return
	}
	c.live = false
	for _, e := range c.ends {
		if e != nil {
			e.tell(frame{c.session, unplugged, nil})
		}
	}
}

// A wire is the way to one machine. Frames for it wait in a queue, so that a machine
// that does not listen holds up only those that send to it.
type wire struct {
	stream io.WriteCloser

	mu     sync.Mutex
	moved  *sync.Cond // the queue has changed
	queue  []frame
	closed bool
	done   chan struct{} // closed when nothing is written any more
}

// maxQueue is how many frames wait before a sender has to: 1 MiB at most.
const maxQueue = 16

func newWire(stream io.WriteCloser) *wire {
	w := &wire{stream: stream, done: make(chan struct{})}
	w.moved = sync.NewCond(&w.mu)
	go w.write()
	return w
}

// tell queues a frame, however many there are.
func (w *wire) tell(f frame) { w.put(f, math.MaxInt) }

// send queues a frame as soon as there is room, unless the wire is closed.
func (w *wire) send(f frame) { w.put(f, maxQueue) }

func (w *wire) put(f frame, room int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) >= room && !w.closed {
		w.moved.Wait()
	}
	w.queue = append(w.queue, f)
	w.moved.Broadcast()
}

// write writes what is queued. A machine that is off takes nothing any more: the
// stream from it says so too.
func (w *wire) write() {
	defer close(w.done)
	for frames := w.take(); frames != nil; frames = w.take() {
		for _, f := range frames {
			if f.writeTo(w.stream) != nil {
				w.shut()
				return
			}
		}
	}
}

// take waits for frames and returns them all; nil if the wire is closed.
func (w *wire) take() []frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && !w.closed {
		w.moved.Wait()
	}
	if w.closed {
		return nil
	}
	frames := w.queue
	w.queue = nil
	w.moved.Broadcast()
	return frames
}

func (w *wire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.moved.Broadcast()
}

func (w *wire) close() error {
	w.shut()
	err := w.stream.Close() // ends a write that waits
	<-w.done
	return err
}
