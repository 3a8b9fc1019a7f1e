package power

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ctrl is a ClusterCTRL board.
type Ctrl struct {
	chip     chip
	kind     byte // see kinds
	nodes    int
	order    int
	usbPath  string // of the board itself
	patience time.Duration
}

// kinds are the names of boards, by what their type register holds.
var kinds = []string{"DA", "Triple", "pHAT", "A+6", "Stack"}

// maxCtrlNodes is how many nodes the largest board, a DA, has room for.
const maxCtrlNodes = 32

// busyLimit is how long a command may take. The longest, which switches a hub off
// and on, takes up to 255 times 10 ms, with some more for the hub.
const busyLimit = 10 * time.Second

// openCtrl reads a board's kind and numbers. It writes nothing.
func openCtrl(c chip) (*Ctrl, error) {
	b := &Ctrl{chip: c, patience: busyLimit}
	var registers [typeRegister + 1]byte
	for r := range registers {
		var err error
		if registers[r], err = c.read(byte(r)); err != nil {
			return nil, fmt.Errorf("ClusterCTRL board (%v): %w", c, err)
		}
	}
	b.nodes, b.order, b.kind = int(registers[maxNodesRegister]), int(registers[orderRegister]), registers[typeRegister]
	if registers[versionRegister] == 0 || registers[versionRegister] == noValue || b.nodes < 1 || b.nodes > maxCtrlNodes || int(b.kind) >= len(kinds) {
		return nil, fmt.Errorf("ClusterCTRL board (%v): its first registers are % x: want a version, 1 to %d nodes, an order, a mode, and a type from 0 to %d",
			c, registers, maxCtrlNodes, len(kinds)-1)
	}
	if b.order == 0 {
		b.order = 1 // the firmware too takes 0 for 1
	}
	return b, nil
}

func (b *Ctrl) String() string {
	kind := kinds[b.kind]
	if kind == "A+6" && b.nodes == 1 {
		kind = "Single" // which has the same type as an A+6
	}
	return fmt.Sprintf("ClusterCTRL %s of order %d (%v)", kind, b.order, b.chip)
}

func (b *Ctrl) Nodes() int   { return b.nodes }
func (b *Ctrl) Order() int   { return b.order }
func (b *Ctrl) Close() error { return b.chip.Close() }

// Start does nothing: a board itself switches on the nodes that were saved as on.
func (b *Ctrl) Start() (bool, error) { return false, nil }

func (b *Ctrl) Power(x int) (bool, error) {
	data, err := b.ask(powerStatus, byte(x))
	if err == nil && data[0] > 1 {
		err = fmt.Errorf("power status %#02x: want 0 or 1", data[0])
	}
	return data[0] == 1, err
}

func (b *Ctrl) SetPower(x int, on bool) error { return b.do(pick(on, powerOn, powerOff), byte(x)) }

func pick(on bool, yes, no command) command {
	if on {
		return yes
	}
	return no
}

func (b *Ctrl) Set(f Feature, x int, on bool) error {
	switch f {
	case Alert:
		if x > 0 {
			return b.do(pick(on, alertOn, alertOff), byte(x))
		}
		var errs []error
		for x := range b.nodes {
			errs = append(errs, b.Set(Alert, x+1, on))
		}
		return errors.Join(errs...)
	case LEDs:
		return b.do(pick(on, ledsOn, ledsOff))
	case ActLED:
		return b.do(pick(on, actLEDOn, actLEDOff))
	case Fan:
		return b.do(fan, map[bool]byte{true: 1}[on])
	case USBBoot:
		return b.do(pick(on, usbBootOn, usbBootOff), byte(x))
	}
	return unsupported(b, f)
}

func (b *Ctrl) CycleHub() error { return b.do(hubCycle, hubOffUnits) }

// SetOrder gives the board another place among the boards, 1 to 255, until it
// loses power. See [SaveOrder].
func (b *Ctrl) SetOrder(order byte) error { return b.do(setOrder, order) }

// Reset restarts the firmware, with the settings saved in it. The board does not answer.
func (b *Ctrl) Reset() error {
	unlock, err := b.chip.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return b.send(reset)
}

// Save has the board keep the present value of a setting when it loses power.
func (b *Ctrl) Save(what Saved) error { return b.do(command(what)) }

// Report asks the board for its firmware's version and what it measures. It leaves out
// what the firmware cannot tell.
func (b *Ctrl) Report() (Report, error) {
	r := Report{Board: b.String(), Kind: KindCtrl, Nodes: b.nodes, Ready: true, Order: b.order}
	version, err := b.ask(getData, firmwareVersion)
	if err != nil {
		return r, err
	}
	r.Firmware = fmt.Sprintf("%d.%d", version[1], version[0])
	if count, err := b.ask(getData, adcCount); err == nil {
		for n := range min(count[0], maxADCs) {
			data, err := b.ask(getData, adcRead, n+1)
			if mV, ok := millivolts(data); err == nil && ok {
				r.Millivolts = append(r.Millivolts, mV)
			}
		}
	}
	if data, err := b.ask(getData, temperature); err == nil && data[0] == temperatureKind {
		r.Temperature = new(celsius(data))
	}
	if data, err := b.ask(getData, fanStatus); err == nil && data[0] <= 1 && !(version[1] == 1 && version[0] < 6) {
		r.Fan = known(data[0] == 1)
	}
	for x := range b.nodes {
		data, err := b.ask(usbBootStatus, byte(x+1))
		if err != nil || data[0] > 1 {
			break // not built into this firmware
		}
		r.USBBoot = append(r.USBBoot, known(data[0] == 1))
	}
	return r, nil
}

// Path computes the USB path of node x, from the path of the board and from what the
// firmware tells of the ports to the board and to the node, which both count from the hub
// that the two share. This may be the root hub of a bus.
func (b *Ctrl) Path(x int) (string, error) {
	if b.usbPath == "" {
		return "", nil
	}
	own, err := b.ask(usbPath, 0)
	var f *FirmwareError
	if errors.As(err, &f) && f.Status == statusNotSupported {
		return "", nil // a Stack
	}
	if err != nil {
		return "", err
	}
	ports, err := b.ask(usbPath, byte(x))
	if err != nil {
		return "", err
	}
	for _, separator := range []string{".", "-"} {
		hub, ok := strings.CutSuffix(b.usbPath, separator+joinPorts(own))
		if ok && joinPorts(ports) != "" {
			return hub + separator + joinPorts(ports), nil
		}
	}
	return "", nil
}

// joinPorts writes the ports in data7 to data0, which are padded, as the end of a USB path.
func joinPorts(data [8]byte) string {
	var numbers []string
	for _, port := range slices.Backward(data[:]) {
		if port != noValue {
			numbers = append(numbers, strconv.Itoa(int(port)))
		}
	}
	return strings.Join(numbers, ".")
}
