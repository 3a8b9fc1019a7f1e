package cable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is one as far as a cable goes: what its kernel does with a session.
type machine struct {
	attach chan *os.File // gets the kernel's end of each session, a copy
	log    bytes.Buffer
	fail   error // what Attach returns

	stream net.Conn // what the machine has of its stream
	done   sync.WaitGroup
}

// on switches a machine on and connects it with a side of the cable.
func on(t *testing.T, c *Cable, side Side, fail error) *machine {
	t.Helper()
	inside, outside := net.Pipe()
	m := &machine{attach: make(chan *os.File, 10), fail: fail, stream: inside}
	end := &End{Stream: inside, Log: &m.log, Attach: func(_ context.Context, socket *os.File) error {
		fd, err := unix.Dup(int(socket.Fd()))
		if err != nil {
			return err
		}
		m.attach <- os.NewFile(uintptr(fd), "kernel")
		return m.fail
	}}
	m.done.Go(func() { end.Run() })
	m.done.Go(func() { c.Serve(side, outside) })
	t.Cleanup(m.off)
	return m
}

func (m *machine) off() {
	m.stream.Close()
	m.done.Wait()
}

// kernel is the kernel's end of the next session.
func (m *machine) kernel(t *testing.T) *os.File {
	t.Helper()
	select {
	case f := <-m.attach:
		t.Cleanup(func() { f.Close() })
		return f
	case <-time.After(time.Minute):
		t.Fatal("no session began")
		return nil
	}
}

func (m *machine) noKernel(t *testing.T) {
	t.Helper()
	select {
	case <-m.attach:
		t.Fatal("a session began")
	default:
	}
}

// says has one kernel write a text that the other must read.
func says(t *testing.T, from, to *os.File, text string) {
	t.Helper()
	go io.WriteString(from, text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Fatalf("read %.20q, %v; want %.20q", got, err, text)
	}
}

// ends waits until a kernel sees that the plug was pulled.
func ends(t *testing.T, kernel *os.File) {
	t.Helper()
	if rest, err := io.ReadAll(kernel); err != nil {
		t.Errorf("read %d bytes, %v; want the end", len(rest), err)
	}
}

func TestCable(t *testing.T) {
	var c Cable
	node, controller := on(t, &c, Node, nil), on(t, &c, Controller, nil)
	if c.Connected() {
		t.Error("connected before the plug is in")
	}
	for n := range 3 { // in and out again
		c.Plug(true)
		k, l := node.kernel(t), controller.kernel(t)
		says(t, l, k, fmt.Sprint("who are you? ", n))
		says(t, k, l, fmt.Sprint("p7 ", n))
		says(t, k, l, strings.Repeat("long", 1<<18)) // more than frames and queues hold
		if !c.Connected() {
			t.Error("not connected while the plug is in")
		}
		c.Plug(false)
		ends(t, k)
		ends(t, l)
	}
	if c.Connected() {
		t.Error("connected after the plug was pulled")
	}
	node.noKernel(t)
}

// TestHangUp: the node's kernel ends a session, as when a gadget is stopped. The
// controller's kernel sees that, and both can start another.
func TestHangUp(t *testing.T) {
	var c Cable
	node, controller := on(t, &c, Node, nil), on(t, &c, Controller, nil)
	c.Plug(true)
	k, l := node.kernel(t), controller.kernel(t)
	shutDown(k)
	ends(t, l)
	says(t, node.kernel(t), controller.kernel(t), "again")
}

// TestPower cuts the power of each side in turn.
func TestPower(t *testing.T) {
	var c Cable
	c.Plug(true)
	node := on(t, &c, Node, nil)
	node.noKernel(t) // the controller is off
	controller := on(t, &c, Controller, nil)
	k, l := node.kernel(t), controller.kernel(t)
	says(t, k, l, "hello")
	node.off()
	ends(t, l)
	node = on(t, &c, Node, nil)
	k = node.kernel(t)
	controller.kernel(t)
	controller.off()
	ends(t, k)
	if c.Connected() {
		t.Error("connected to a machine that is off")
	}
	controller = on(t, &c, Controller, nil)
	says(t, controller.kernel(t), node.kernel(t), "hello again")
}

// TestBroken has a side that cannot attach: it says so once, and does not try
// again until the plug was pulled.
func TestBroken(t *testing.T) {
	var c Cable
	node, controller := on(t, &c, Node, errors.New("no device controller")), on(t, &c, Controller, nil)
	c.Plug(true)
	ends(t, node.kernel(t))
	controller.kernel(t)
	c.Plug(false)
	c.Plug(true)
	ends(t, node.kernel(t))
	node.off()
	if got, want := node.log.String(), strings.Repeat("virtual cable: no device controller\n", 2); got != want {
		t.Errorf("log: %q, want %q", got, want)
	}
}

// TestPlay: this program is at the node's side. It gets a stream for each session, also
// after the hub was off, and none while the controller is off.
func TestPlay(t *testing.T) {
	var c Cable
	sessions := make(chan io.ReadWriter, 10)
	over := make(chan error, 10)
	c.Play(func(stream io.ReadWriter) {
		sessions <- stream
		_, err := io.Copy(stream, stream) // an echo
		over <- err
	})
	c.Plug(true)
	for _, pull := range []func(bool){c.Plug, c.SwitchHub} {
		controller := on(t, &c, Controller, nil)
		kernel := controller.kernel(t)
		<-sessions
		for _, text := range []string{"hello", strings.Repeat("long", 1<<16)} {
			says(t, kernel, kernel, text)
		}
		pull(false)
		ends(t, kernel)
		<-over
		if c.Connected() {
			t.Error("connected after the plug was pulled or the hub switched off")
		}
		pull(true)
		kernel = controller.kernel(t)
		<-sessions
		says(t, kernel, kernel, "hello again")
		controller.off()
		<-over
	}
	if len(sessions) > 0 {
		t.Error("a session began without a controller")
	}
}

// TestPlayStops has this program leave its end of the cable, where another comes: all
// that it said before arrives.
func TestPlayStops(t *testing.T) {
	var c Cable
	c.Plug(true)
	controller := on(t, &c, Controller, nil)
	last := strings.Repeat("last words", 1<<10)
	served := make(chan error, 2)
	serve := func(stream io.ReadWriter) {
		_, err := io.WriteString(stream, last)
		served <- err
		io.Copy(io.Discard, stream)
		_, err = io.WriteString(stream, "to nobody")
		served <- err
	}
	for range 2 {
		stop := c.Play(serve)
		if err := <-served; err != nil {
			t.Error(err)
		}
		stop()
		if err := <-served; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after the plug was pulled: %v", err)
		}
		if got, err := io.ReadAll(controller.kernel(t)); err != nil || string(got) != last {
			t.Errorf("the controller read %d bytes, %v; want %d", len(got), err, len(last))
		}
		stop() // does nothing more
	}
	stop := c.Play(serve)
	node := on(t, &c, Node, nil)
	node.kernel(t)
	stop()
	if !c.Connected() {
		t.Error("who left the cable long ago has pulled out the node that is there")
	}
}

// TestLate: data of an earlier session that comes late is dropped.
func TestLate(t *testing.T) {
	var c Cable
	controller := on(t, &c, Controller, nil)
	inside, outside := net.Pipe()
	go c.Serve(Node, outside)
	c.Plug(true)
	first, err := readFrame(inside)
	if err != nil || first.kind != plugged {
		t.Fatalf("%+v, %v", first, err)
	}
	c.Plug(false)
	c.Plug(true)
	go func() {
		for { // the cable speaks too
			if _, err := readFrame(inside); err != nil {
				return
			}
		}
	}()
	for _, f := range []frame{
		{first.session, payload, []byte("late")},
		{first.session, hungUp, nil},
		{first.session + 1, payload, []byte("in time")},
	} {
		if err := f.writeTo(inside); err != nil {
			t.Fatal(err)
		}
	}
	controller.kernel(t) // of the session that is over
	got := make([]byte, len("in time"))
	if _, err := io.ReadFull(controller.kernel(t), got); err != nil || string(got) != "in time" {
		t.Errorf("read %q, %v", got, err)
	}
	inside.Close()
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x03\x00\x04\x00data"))
	f.Add([]byte("\x01\x00\x00\x00\x03\x00\x05\x00data")) // cut off
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00"))     // of no kind
	f.Add([]byte("\x01\x00\x00\x00\x05\x00\x00\x00"))
	f.Add([]byte("\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				t.Error("a frame that is cut off looks like the end")
			}
			return
		}
		var w bytes.Buffer
		if err := got.writeTo(&w); err != nil || !bytes.HasPrefix(b, w.Bytes()) {
			t.Errorf("wrote %q, %v; read %q", w.Bytes(), err, b)
		}
	})
}
