package board

import (
	"fmt"
	"sync"
)

// Registers of a HAT's expander: an XRA1200, or a part like a PCA9554, which has no
// pull-up register and always has its pull-ups on.
const (
	inputRegister     = 0x00
	outputRegister    = 0x01
	polarityRegister  = 0x02
	directionRegister = 0x03 // 1 is input
	pullUpRegister    = 0x04
)

// Pins of the expander. The lowest four are power for p1 to p4.
const (
	hatNodes  = 4
	ledPin    = 4
	hubPin    = 5
	alertPin  = 6
	wpPin     = 7 // write protection of the EEPROM
	allInputs = 0xff
)

// The USB identity of a played HAT's bus. It is the one that the driver i2c-tiny-usb knows
// by itself, so that nothing takes the bus for a ClusterCTRL board's. A real HAT is on a
// bus of the Pi.
const (
	busVendor  = 0x0403
	busProduct = 0xc631
)

// A HAT plays a ClusterHAT of version 2 or 3. Its fields are not to be changed while
// it is plugged in.
type HAT struct {
	Version byte // major and minor, as 0x24 for 2.4
	Name    string
	Journal *Journal
	PullUps bool // whether the expander has a pull-up register

	// PowerLinkCut says that the link for the state at power-up is cut, so that nodes are
	// on then. WPLink says that the link between the EEPROM's write protection and its pin
	// is soldered, so that the pin is high without a pull-up in the expander.
	PowerLinkCut, WPLink bool

	// Switched is called when a node's power goes on or off. Hub is called with the hub's
	// state at power-up, and whenever that changes. Either may be nil. They must not wait,
	// nor call methods of the HAT.
	Switched func(x int, on bool)
	Hub      func(on bool)

	mu                                  sync.Mutex
	started                             bool
	pointer                             byte
	output, polarity, direction, pullUp byte
}

// Device is a USB device that is the HAT's bus.
func (h *HAT) Device() *Bus {
	return &Bus{Vendor: busVendor, Product: busProduct, Chip: h}
}

// DeviceTree returns the files that are in /proc/device-tree/hat on a Pi with this HAT. The
// Pi's firmware reads their contents from the HAT's EEPROM.
func (h *HAT) DeviceTree() map[string]string {
	return map[string]string{
		"name":        "hat\x00",
		"product":     "ZC4:ClusterHAT\x00",
		"product_id":  "0x0004\x00",
		"product_ver": fmt.Sprintf("0x%04x\x00", h.Version),
		"uuid":        "7d9c3a40-5f1e-4b2a-8c6d-0e1f2a3b4c5d\x00",
		"vendor":      "8086 Consultancy\x00",
	}
}

// start gives the HAT its state after power-up, if it had no power.
func (h *HAT) start() {
	if h.started {
		return
	}
	h.started = true
	h.reset()
	is := h.state()
	h.tell(HATState{Hub: !is.Hub}, is)
}

func (h *HAT) reset() { h.output, h.polarity, h.direction, h.pullUp = 0xff, 0, allInputs, 0xff }

// PowerOn gives the HAT power. The first message to the HAT gives it power too.
func (h *HAT) PowerOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start()
}

// PowerOff takes the HAT's power away.
func (h *HAT) PowerOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started {
		was := h.state()
		h.tell(was, HATState{Hub: was.Hub})
	}
	h.started = false
}

// pins are the levels of all pins.
func (h *HAT) pins() byte {
	outside, pulledUp := byte(0xff), h.pullUp
	if !h.PullUps {
		pulledUp = 0xff
	}
	if !h.PowerLinkCut {
		outside &^= 1<<hatNodes - 1
	}
	in := outside & pulledUp
	if h.WPLink {
		in |= 1 << wpPin
	}
	return h.output&^h.direction | in&h.direction
}

// A HATState says which nodes have power, node x at index x.
type HATState struct {
	Power [1 + hatNodes]bool
	Hub   bool
}

// State returns which nodes have power, and whether the hub has.
func (h *HAT) State() HATState {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start()
	return h.state()
}

func (h *HAT) state() HATState {
	pins := h.pins()
	s := HATState{Hub: pins>>hubPin&1 == h.hubOn()}
	for x := 1; x <= hatNodes; x++ {
		s.Power[x] = pins>>(x-1)&1 != 0
	}
	return s
}

// hubOn is the level that switches the hub on.
func (h *HAT) hubOn() byte {
	if h.Version == 0x20 {
		return 1
	}
	return 0
}

// Pin returns the level of a pin.
func (h *HAT) Pin(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start()
	return h.pins()>>n&1 != 0
}

func (h *HAT) tell(was, is HATState) {
	for x, on := range is.Power {
		if was.Power[x] != on && h.Switched != nil {
			h.Switched(x, on)
		}
	}
	if was.Hub != is.Hub && h.Hub != nil {
		h.Hub(is.Hub)
	}
}

// Write takes the number of a register and values for it.
func (h *HAT) Write(data []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start()
	if len(data) == 0 {
		return true
	}
	h.pointer = data[0]
	known := h.register() != nil
	for _, value := range data[1:] {
		h.Journal.note(Write{h.Name, h.pointer, value, !known})
		if known && h.pointer != inputRegister {
			was := h.state()
			*h.register() = value
			h.tell(was, h.state())
		}
	}
	return known
}

// Read reads a register.
func (h *HAT) Read(data []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start()
	register := h.register()
	if register == nil {
		return false
	}
	for i := range data {
		data[i] = *register
	}
	return true
}

// register is the register that the last write has named, nil if there is none of that
// number.
func (h *HAT) register() *byte {
	switch h.pointer {
	case inputRegister:
		level := h.pins() ^ h.polarity
		return &level
	case outputRegister:
		return &h.output
	case polarityRegister:
		return &h.polarity
	case directionRegister:
		return &h.direction
	case pullUpRegister:
		if h.PullUps {
			return &h.pullUp
		}
	}
	return nil
}
