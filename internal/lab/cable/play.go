package cable

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

// Play puts this program at the node's end of the cable, in place of a machine, until
// stop is called. Whenever the plug is put in, serve is called with a stream to the
// controller, which ends when the plug is pulled. What was written to the stream before
// stop reaches the controller.
func (c *Cable) Play(serve func(stream io.ReadWriter)) (stop func()) {
	p := &played{cable: c, serve: serve}
	c.set(Node, p)
	return func() { c.unset(Node, p) }
}

// played is an end at which this program is.
type played struct {
	cable *Cable
	serve func(io.ReadWriter)

	mu   sync.Mutex
	host *io.PipeWriter // what is written here is read by serve
}

func (p *played) tell(f frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.kind == unplugged {
		p.host.Close()
		return
	}
	device, host := io.Pipe()
	p.host = host
	go func() {
		p.serve(stream{device, p.cable, f.session})
		device.Close()
	}()
}

func (p *played) send(f frame) {
	p.mu.Lock()
	host := p.host
	p.mu.Unlock()
	host.Write(f.data) // fails if the plug was pulled, or serve does not listen any more
}

// A stream is what serve has of a session.
type stream struct {
	io.Reader
	cable   *Cable
	session uint32
}

// Write passes on what serve says, until the plug is pulled.
func (s stream) Write(data []byte) (written int, err error) {
	for piece := range slices.Chunk(data, maxPayload) {
		controller := s.cable.peer(Node, s.session)
		if controller == nil {
			return written, io.ErrClosedPipe
		}
		controller.send(frame{s.session, payload, bytes.Clone(piece)})
		written += len(piece)
	}
	return written, nil
}
