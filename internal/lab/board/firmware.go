package board

import (
	"slices"
	"sync"
	"time"

	"clusterctrl/internal/node"
)

// Registers of a ClusterCTRL board.
const (
	versionRegister = 0x00
	maxPiRegister   = 0x01
	orderRegister   = 0x02
	modeRegister    = 0x03
	typeRegister    = 0x04
	data7Register   = 0x05 // and so on down to
	data0Register   = 0x0c
	commandRegister = 0x0d
	statusRegister  = 0x0e
	registers       = 0x0f
)

// layout is what the version register holds: the version of the registers.
const layout = 1

// A Firmware plays the firmware of a ClusterCTRL board. Its fields are not to be changed
// while the board is plugged in.
type Firmware struct {
	Kind
	Name        string // in the journal
	Journal     *Journal
	Version     [2]byte   // major, minor; zero for 1.8
	ADC         []Reading // what its converters measure
	Temperature uint16    // what its sensor measures; see [Reading]

	// Busy is how often the command register reads as "not done yet" after each command,
	// -1 for ever. Until it has been read so often, the board does nothing and takes no
	// writes.
	Busy int

	// Nonsense has what registers read as, whatever they hold, by their numbers.
	Nonsense map[byte]byte

	// Ports returns the ports that lead from the board's hub to node x, or to the board
	// itself if x is 0. It may be nil.
	Ports func(x int) []byte

	// Switched is called when a node's power goes on or off, Cycled when the hub goes off
	// for a time. Either may be nil. They must not wait, nor call methods of the board.
	Switched func(x int, on bool)
	Cycled   func(off time.Duration)

	// Restarted is called when the board restarts; a real board then leaves the bus. If
	// Restarted is nil, the board fails to restart.
	Restarted func()

	mu      sync.Mutex
	started bool
	now     State
	saved   State
	pointer byte
	memory  [registers]byte
	running byte // the command that is not done yet, or 0
	polls   int  // how often the command register was read since that command began
}

// A Reading is what a converter measures. Raw is in units of 6.4453125 mV if Kind is 1,
// and of 33.34093896 mV if Kind is 2. A sensor's raw value means (raw-247)/1.22 degrees
// Celsius.
type Reading struct {
	Kind byte
	Raw  uint16
}

// State is the state of a board. Index x is for node x, index 0 for the board itself.
type State struct {
	Order          byte
	Power, USBBoot [256]bool
	Alert          [256]bool
	LEDs           bool // false if the LEDs are kept dark
	PowerLED, ACT  bool
	Fan            byte
}

// Delivered returns the state in which boards are delivered.
func Delivered() State { return State{Order: 20, LEDs: true, PowerLED: true, ACT: true} }

// Device is the board's end of a USB cable.
func (f *Firmware) Device() *Bus {
	return &Bus{Vendor: node.VendorID, Product: f.Product, Chip: f}
}

// Save puts a state into a board that has no power yet, as the command "save" would.
func (f *Firmware) Save(s State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saved = s
}

// State returns the state of the board.
func (f *Firmware) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start()
	return f.now
}

// PowerOn gives the board power, and with it the state that was saved. The first message to
// the board does the same.
func (f *Firmware) PowerOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start()
}

// PowerOff takes power from the board.
func (f *Firmware) PowerOff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodesOff()
	f.started = false
}

// start gives the board its state after power-up, if it had no power.
func (f *Firmware) start() {
	if f.started {
		return
	}
	f.started = true
	if f.saved == (State{}) {
		f.saved = Delivered()
	}
	if f.Version == ([2]byte{}) {
		f.Version = [2]byte{1, 8}
	}
	f.restart()
}

func (f *Firmware) nodesOff() {
	for x := range f.now.Power {
		f.power(x, false)
	}
}

// restart takes power from all nodes, and gives it back to those that were saved as on.
func (f *Firmware) restart() {
	f.nodesOff()
	f.now = f.saved
	f.now.Alert, f.now.Power = [256]bool{}, [256]bool{}
	f.now.Order = max(f.now.Order, 1)
	f.memory, f.running = [registers]byte{}, 0
	for x, on := range f.saved.Power {
		f.power(x, on)
	}
}

func (f *Firmware) power(x int, on bool) {
	was := f.now.Power[x]
	f.now.Power[x] = on
	if was != on && f.Switched != nil {
		f.Switched(x, on)
	}
}

// Write takes the number of a register, and values for this register and those behind it.
// While a command runs, it refuses values.
func (f *Firmware) Write(data []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start()
	if len(data) == 0 {
		return true
	}
	f.pointer = data[0]
	for _, value := range data[1:] {
		w := Write{f.Name, f.pointer, value, f.running != 0}
		f.Journal.note(w)
		if w.Refused {
			return false
		}
		f.set(f.pointer, value)
		f.pointer++
	}
	return true
}

// set writes a register. Registers that describe the board ignore writes.
func (f *Firmware) set(register, value byte) {
	if register < data7Register || register > commandRegister {
		return
	}
	f.memory[register] = value
	if register == commandRegister && value != 0 {
		f.running, f.polls = value, 0
		f.proceed()
	}
}

// Read reads registers. While a command runs, all but the command register read as they
// were before the command.
func (f *Firmware) Read(data []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start()
	for i := range data {
		data[i] = f.get(f.pointer)
		f.pointer++
	}
	return true
}

func (f *Firmware) get(register byte) byte {
	if register == commandRegister && f.running != 0 {
		f.proceed()
		f.polls++
	}
	if value, ok := f.Nonsense[register]; ok {
		return value
	}
	switch register {
	case versionRegister:
		return layout
	case maxPiRegister:
		return f.MaxPi
	case orderRegister:
		return f.now.Order
	case typeRegister:
		return f.Type
	}
	if register < registers {
		return f.memory[register]
	}
	return 0xff
}

// proceed does the running command, once the command register was read often enough.
func (f *Firmware) proceed() {
	if f.Busy >= 0 && f.polls >= f.Busy {
		command := f.running
		f.running = 0
		f.memory[statusRegister] = f.do(command)
		f.memory[commandRegister] = 0
	}
}

// answer puts a command's results into data0, data1 and so on.
func (f *Firmware) answer(values ...byte) {
	for i, value := range values {
		f.memory[data0Register-i] = value
	}
}

// path puts ports of hubs into data7, data6 and so on.
func (f *Firmware) path(ports ...byte) {
	for i := range 8 {
		f.memory[data7Register+i] = 0xff
	}
	copy(f.memory[data7Register:], ports)
}

// Nodes returns which nodes have power.
func (s State) Nodes() []int {
	var nodes []int
	for x, on := range s.Power {
		if on {
			nodes = append(nodes, x)
		}
	}
	return slices.Clip(nodes)
}
