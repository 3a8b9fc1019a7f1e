package usb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"clusterctrl/internal/linux/usbip"
)

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		what any
		want int
	}{{command{}, 48}, {reply{}, 48}, {Setup{}, 8}} {
		if got := binary.Size(tt.what); got != tt.want {
			t.Errorf("%T has %d bytes, want %d", tt.what, got, tt.want)
		}
	}
}

// TestDescriptors holds descriptors against ones written by hand (USB 2.0, 9.6).
func TestDescriptors(t *testing.T) {
	d := DeviceDescriptor{0x0200, 0xff, 1, 2, 64, 0x3171, 0x0011, 0x0108, 1, 2, 3, 1}
	want := []byte{18, 1, 0x00, 0x02, 0xff, 1, 2, 64, 0x71, 0x31, 0x11, 0x00, 0x08, 0x01, 1, 2, 3, 1}
	if got := d.bytes(); !bytes.Equal(got, want) {
		t.Errorf("device: % x, want % x", got, want)
	}
	c := Configuration(Interface{Class: 3}, Interface{0xff, 1, 2, []Endpoint{{0x81, Bulk, 512, 0}}})
	want = []byte{
		9, 2, 34, 0, 2, 1, 0, 0x80, 50,
		9, 4, 0, 0, 0, 3, 0, 0, 0,
		9, 4, 1, 0, 1, 0xff, 1, 2, 0,
		7, 5, 0x81, 2, 0x00, 0x02, 0,
	}
	if !bytes.Equal(c, want) {
		t.Errorf("configuration: % x, want % x", c, want)
	}
}

// A quiet device waits until it is told what to do.
type quiet struct {
	ControlOnly
	in chan []byte
}

func (quiet) Descriptors() Descriptors { return Descriptors{Speed: usbip.HighSpeed} }

func (quiet) Control(context.Context, Setup, []byte) ([]byte, error) {
	return nil, errors.New("broken")
}

func (q quiet) In(ctx context.Context, _ uint8, length int) ([]byte, error) {
	select {
	case data := <-q.in:
		return data, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestUnlink has the host take back transfers: one that is under way, one that has
// not had its turn, one that is over. Each is answered once.
func TestUnlink(t *testing.T) {
	host, device := net.Pipe()
	q, played := quiet{in: make(chan []byte)}, make(chan error, 1)
	go func() { played <- Serve(device, q) }()
	if _, err := usbip.Ask(host); err != nil {
		t.Fatal(err)
	}
	send := func(c command) {
		t.Helper()
		if err := binary.Write(host, binary.BigEndian, c); err != nil {
			t.Fatal(err)
		}
	}
	want := func(message, number uint32, status int32, data string) {
		t.Helper()
		var r reply
		if err := binary.Read(host, binary.BigEndian, &r); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(data))
		if _, err := io.ReadFull(host, got); err != nil {
			t.Fatal(err)
		}
		if wanted := (reply{Message: message, Number: number, Status: status, Length: uint32(len(data))}); r != wanted || string(got) != data {
			t.Errorf("reply %+v %q, want %+v %q", r, got, wanted, data)
		}
	}
	for number := range uint32(4) {
		send(command{Message: submitMessage, Number: 1 + number, In: 1, Endpoint: 2, Length: 4})
	}
	send(command{Message: unlinkMessage, Number: 5, Flags: 1})
	want(unlinkReply, 5, statusTaken, "")
	send(command{Message: unlinkMessage, Number: 6, Flags: 3})
	want(unlinkReply, 6, statusTaken, "")
	q.in <- []byte("second")
	want(submitReply, 2, 0, "seco") // more than the host asked for is cut off
	send(command{Message: unlinkMessage, Number: 7, Flags: 2})
	want(unlinkReply, 7, 0, "")
	q.in <- []byte("4")
	want(submitReply, 4, 0, "4")
	send(command{Message: submitMessage, Number: 8, Setup: [8]byte{VendorOut}})
	want(submitReply, 8, statusBad, "")
	host.Close()
	if err := <-played; err != nil {
		t.Error(err)
	}
}

// A tardy device takes its time to let a transfer go.
type tardy struct {
	quiet
	asked chan bool
	gone  *atomic.Bool
}

func (d tardy) In(ctx context.Context, _ uint8, _ int) ([]byte, error) {
	d.asked <- true
	<-ctx.Done()
	for range 1000 {
		runtime.Gosched()
	}
	d.gone.Store(true)
	return nil, ctx.Err()
}

// TestUnlinkTardy: a host that took a transfer back hears of it when the device has let the
// transfer go. What the device gets next would go to the host that does not want it.
func TestUnlinkTardy(t *testing.T) {
	host, device := net.Pipe()
	d := tardy{asked: make(chan bool), gone: new(atomic.Bool)}
	go Serve(device, d)
	if _, err := usbip.Ask(host); err != nil {
		t.Fatal(err)
	}
	if err := binary.Write(host, binary.BigEndian, command{Message: submitMessage, Number: 1, In: 1, Endpoint: 2, Length: 8}); err != nil {
		t.Fatal(err)
	}
	<-d.asked
	if err := binary.Write(host, binary.BigEndian, command{Message: unlinkMessage, Number: 2, Flags: 1}); err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := binary.Read(host, binary.BigEndian, &r); err != nil || r.Message != unlinkReply || r.Status != statusTaken || !d.gone.Load() {
		t.Errorf("%+v, %v, let go: %v", r, err, d.gone.Load())
	}
	host.Close()
}

// TestGone has the host go away before it has asked, and before it is answered.
func TestGone(t *testing.T) {
	for name, asks := range map[string]bool{"silent": false, "impatient": true} {
		host, device := net.Pipe()
		played := make(chan error, 1)
		go func() { played <- Serve(device, quiet{}) }()
		if asks {
			ask := append([]byte{0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0}, make([]byte, 32)...)
			copy(ask[8:], usbip.BusID)
			if _, err := host.Write(ask); err != nil {
				t.Fatal(err)
			}
		}
		host.Close()
		if err := <-played; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// damaged holds invalid messages, each of which ends the device.
var damaged = map[string]command{
	"of no kind":        {Message: 3},
	"endpoint too high": {Message: submitMessage, Endpoint: 16},
	"endpoint wraps":    {Message: submitMessage, Endpoint: 256},
	"too much to send":  {Message: submitMessage, Endpoint: 1, Length: maxTransfer + 1},
	"too much to get":   {Message: submitMessage, In: 1, Endpoint: 1, Length: 1<<32 - 1},
}

func TestDamaged(t *testing.T) {
	for name, c := range damaged {
		b, err := binary.Append(nil, binary.BigEndian, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := play(stream{bytes.NewReader(b), io.Discard}, quiet{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type stream struct {
	io.Reader
	io.Writer
}

// FuzzPlay has a host say anything: nothing panics, and what is said to it begins
// with a reply.
func FuzzPlay(f *testing.F) {
	for _, c := range damaged {
		b, err := binary.Append(nil, binary.BigEndian, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []Setup{
		{fromDevice, getDescriptor, deviceType << 8, 0, 18}, {fromDevice, getDescriptor, configurationType << 8, 0, 255},
		{fromDevice, getDescriptor, stringType << 8, 0, 255}, {fromDevice, getDescriptor, stringType<<8 | 9, 0, 255},
		{toEndpoint, clearFeature, 0, 0x82, 0},
	} {
		c := command{Message: submitMessage, Number: 1, In: 1, Length: uint32(s.Length)}
		if _, err := binary.Encode(c.Setup[:], binary.LittleEndian, s); err != nil {
			f.Fatal(err)
		}
		b, err := binary.Append(nil, binary.BigEndian, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var said bytes.Buffer
		play(stream{bytes.NewReader(b), &said}, quiet{})
		if said.Len() == 0 {
			return
		}
		var r reply
		if err := binary.Read(&said, binary.BigEndian, &r); err != nil || r.Message != submitReply && r.Message != unlinkReply {
			t.Errorf("reply %+v, %v", r, err)
		}
	})
}
