package cable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbip"
	"golang.org/x/sys/unix"
)

// An End connects a cable with the kernel of the machine that it runs on.
type End struct {
	Stream io.ReadWriter // to the [Cable]

	// Attach agrees with the other end on the device, over socket, and hands
	// socket to the kernel. It returns when ctx ends, since then the plug was
	// pulled; socket is closed by the caller. See [AttachNode] and
	// [AttachController].
	Attach func(ctx context.Context, socket *os.File) error

	Log io.Writer // gets a line for each thing that goes wrong; not nil

	write sync.Mutex
}

// Run serves the end until the stream ends.
func (e *End) Run() error {
	var s *session
	defer func() { s.close() }()
	for {
		f, err := readFrame(e.Stream)
		if err != nil {
			return err
		}
		switch {
		case f.kind == plugged:
			s.close()
			if s, err = e.begin(f.session); err != nil {
				return err
			}
		case s == nil || f.session != s.number:
		case f.kind == payload:
			s.kernel.Write(f.data) // fails if the kernel has let go, which is noticed elsewhere
		case f.kind == unplugged:
			s.close()
			s = nil
		}
	}
}

// A session is the time from plugging in to pulling out. A nil session is none.
type session struct {
	number uint32
	kernel *os.File // what is written here is read by the kernel, and the other way round
	cancel context.CancelFunc
	broken atomic.Bool // the plug is in, but does not work
	done   sync.WaitGroup
}

// close tells the kernel that the plug was pulled.
func (s *session) close() {
	if s == nil {
		return
	}
	s.cancel()
	shutDown(s.kernel)
	s.done.Wait()
	s.kernel.Close()
}

// shutDown ends both directions of a socket, for all who have it open.
func shutDown(socket *os.File) { unix.Shutdown(int(socket.Fd()), unix.SHUT_RDWR) }

func (e *End) begin(number uint32) (*session, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("virtual cable: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "cable"), os.NewFile(uintptr(fds[1]), "kernel")
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{number: number, kernel: ours, cancel: cancel}
	s.done.Go(func() {
		defer theirs.Close()
		err := e.Attach(ctx, theirs)
		if err == nil || ctx.Err() != nil {
			return
		}
		fmt.Fprintf(e.Log, "virtual cable: %v\n", err)
		// An attempt that failed would fail again, so the next one waits until the user
		// pulls the plug. But a gadget may have gone before it was exported.
		s.broken.Store(!errors.Is(err, unix.ENODEV))
		shutDown(theirs)
	})
	s.done.Go(func() {
		e.pump(s)
		if ctx.Err() == nil && !s.broken.Load() {
			e.send(frame{number, hungUp, nil})
		}
	})
	return s, nil
}

// pump passes on what the kernel says, until it lets go.
func (e *End) pump(s *session) {
	buf := make([]byte, maxPayload)
	for {
		n, err := s.kernel.Read(buf)
		if n > 0 && e.send(frame{s.number, payload, buf[:n]}) != nil || err != nil {
			return
		}
	}
}

func (e *End) send(f frame) error {
	e.write.Lock()
	defer e.write.Unlock()
	return f.writeTo(e.Stream)
}

// AttachNode exports this machine's gadget as soon as the other side asks for it
// and there is one.
func AttachNode(ctx context.Context, socket *os.File) error {
	if err := usbip.Await(socket); err != nil {
		return err
	}
	g, err := usbip.OpenGadget()
	if err != nil {
		return err
	}
	var d usbip.Device
	err = uevent.Wait(ctx, func() (bool, error) {
		d, err = g.Device()
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	}, "udc", "gadget")
	if err != nil {
		return err
	}
	if err := usbip.Reply(socket, d); err != nil {
		return err
	}
	return whenFree(ctx, func() error { return g.Export(socket) })
}

// AttachController plugs the device of the other side into a port of this
// machine, as soon as there is one.
func AttachController(port usbip.Port) func(context.Context, *os.File) error {
	return func(ctx context.Context, socket *os.File) error {
		d, err := usbip.Ask(socket)
		if err != nil {
			return err
		}
		return whenFree(ctx, func() error { return port.Import(socket, d) })
	}
}

// whenFree tries again while the kernel is busy with the end of an earlier
// session, which it gives no sign of.
func whenFree(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := try()
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINVAL) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
