package cable

import (
	"bytes"
	"io"
	"net"
	"sync"
)

// Play puts this program at the node's end of the cable, in place of a machine.
// Whenever the plug is put in, serve is called with a stream to the controller, which
// ends when the plug is pulled.
func (c *Cable) Play(serve func(stream io.ReadWriter)) {
	c.set(Node, &played{cable: c, serve: serve})
}

// played is an end at which this program is.
type played struct {
	cable *Cable
	serve func(io.ReadWriter)

	mu   sync.Mutex
	host net.Conn // what is written here is read by serve, and the other way round
}

func (p *played) tell(f frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.kind == unplugged {
		p.host.Close()
		return
	}
	host, device := net.Pipe()
	p.host = host
	go func() {
		p.serve(device)
		device.Close()
	}()
	go p.pump(f.session, host)
}

func (p *played) send(f frame) {
	p.mu.Lock()
	host := p.host
	p.mu.Unlock()
	host.Write(f.data) // fails if the plug was pulled, or serve does not listen any more
}

// pump passes on what serve says, until the plug is pulled.
func (p *played) pump(session uint32, host io.Reader) {
	buf := make([]byte, maxPayload)
	for {
		n, err := host.Read(buf)
		if err != nil {
			return
		}
		if controller := p.cable.peer(Node, session); controller != nil {
			controller.send(frame{session, payload, bytes.Clone(buf[:n])})
		}
	}
}
