package usb

import "context"

// Types of standard requests: to and from the device, to and from an interface, to
// and from an endpoint (USB 2.0, table 9-3).
const (
	toDevice, fromDevice       = 0x00, 0x80
	toInterface, fromInterface = 0x01, 0x81
	toEndpoint, fromEndpoint   = 0x02, 0x82
)

// Standard requests (USB 2.0, table 9-4).
const (
	getStatus        = 0
	clearFeature     = 1
	getDescriptor    = 6
	getConfiguration = 8
	setConfiguration = 9
	getInterface     = 10
	setInterface     = 11
)

// control answers a control request: a standard request by itself, any other by the
// device. It is never asked to set an address, since the host's controller does that.
func (p *player) control(ctx context.Context, s Setup, out []byte) ([]byte, error) {
	d := p.device.Descriptors()
	switch [2]uint8{s.Type, s.Request} {
	case [2]uint8{fromDevice, getDescriptor}:
		switch kind, index := s.Value>>8, uint8(s.Value); kind {
		case deviceType:
			return d.Device.bytes(), nil
		case configurationType:
			return d.Configuration, nil
		case stringType:
			return d.text(index)
		}
		return nil, ErrStall
	case [2]uint8{fromDevice, getStatus}, [2]uint8{fromInterface, getStatus}, [2]uint8{fromEndpoint, getStatus}:
		return []byte{0, 0}, nil
	case [2]uint8{fromDevice, getConfiguration}:
		return []byte{1}, nil
	case [2]uint8{fromInterface, getInterface}:
		return []byte{0}, nil
	case [2]uint8{toDevice, setConfiguration}, [2]uint8{toInterface, setInterface}:
		p.clear(func(endpoint) bool { return true })
		return nil, nil
	case [2]uint8{toEndpoint, clearFeature}:
		cleared := endpoint{uint8(s.Index) & 15, s.Index&0x80 != 0}
		p.clear(func(e endpoint) bool { return e == cleared })
		return nil, nil
	}
	return p.device.Control(ctx, s, out)
}

// clear lets the halted endpoints that which chooses work again.
func (p *player) clear(which func(endpoint) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := range p.halted {
		if which(e) {
			delete(p.halted, e)
		}
	}
}
