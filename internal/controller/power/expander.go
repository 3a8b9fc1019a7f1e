package power

import "errors"

// Registers of the expander on a ClusterHAT v2 or v3: XRA1200, or a part that is
// compatible with PCA9554 and has no register of pull-ups. A bit is a pin.
// Source: data sheet of the XRA1200, "Register description".
const (
	inputRegister     = 0x00 // levels at the pins
	outputRegister    = 0x01 // levels that pins have when they are outputs
	directionRegister = 0x03 // 1: input
	pullUpRegister    = 0x04 // 1: pulled up
)

// Pins of the expander. Nodes 1 to 4 are on pins 0 to 3.
const (
	nodePins    = 0x0f
	ledPin      = 1 << 4 // v2
	hubPin      = 1 << 5 // see [Version.hubOn]
	alertPin    = 1 << 6
	protectPin  = 1 << 7 // 1: the EEPROM is protected
	allInputs   = 0xff   // directions since power-up, until the board is started
	allOutputs  = 0x00
	hatMaxNodes = 4
)

// An expander is a ClusterHAT v2 or v3.
type expander struct {
	hat
	chip chip
}

func (e *expander) String() string {
	return "ClusterHAT v" + e.version.String() + " (" + e.chip.String() + ")"
}

func (e *expander) Close() error { return e.chip.Close() }

func (e *expander) Power(x int) (bool, error) {
	pins, err := e.chip.read(inputRegister)
	return pins&(1<<(x-1)) != 0, err
}

func (e *expander) SetPower(x int, on bool) error { return e.set(1<<(x-1), on) }

func (e *expander) Set(f Feature, _ int, on bool) error {
	switch {
	case f == Alert:
		return e.set(alertPin, on)
	case f == LEDs && e.version.hasLED():
		return e.set(ledPin, on)
	case f == Hub:
		return e.set(hubPin, on == e.version.hubOn())
	case f == WriteProtect:
		return e.set(protectPin, on)
	}
	return unsupported(e, f)
}

func (e *expander) CycleHub() error {
	if err := e.Set(Hub, 0, false); err != nil {
		return err
	}
	e.pause(hubOffTime)
	return e.Set(Hub, 0, true)
}

var errNotStarted = errors.New("it was not made ready since it got power: run sudo clusterctrl init")

// set gives pins a level, and leaves the others as they are.
func (e *expander) set(pins byte, high bool) error {
	unlock, err := e.chip.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	direction, err := e.chip.read(directionRegister)
	if err != nil {
		return err
	}
	if direction == allInputs {
		return errNotStarted
	}
	levels, err := e.chip.read(outputRegister)
	if err != nil {
		return err
	}
	return e.chip.write(outputRegister, with(levels, pins, high))
}

func with(levels, pins byte, high bool) byte {
	if high {
		return levels | pins
	}
	return levels &^ pins
}

// Start makes the pins outputs, once all have the levels that they are to drive. It
// switches all nodes on if the link for the state at power-up is cut, by which their pins
// are pulled up, else off.
func (e *expander) Start() (first bool, err error) {
	unlock, err := e.chip.Lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	direction, err := e.chip.read(directionRegister)
	if err != nil || direction != allInputs {
		return false, err
	}
	pins, err := e.chip.read(inputRegister)
	if err != nil {
		return false, err
	}
	if err := e.findProtection(); err != nil {
		return false, err
	}
	levels := byte(protectPin)
	if pins&nodePins == nodePins {
		levels |= nodePins
	}
	if e.version.hasLED() {
		levels |= ledPin
	}
	levels = with(levels, hubPin, e.version.hubOn())
	return true, errors.Join(e.chip.write(outputRegister, levels), e.chip.write(directionRegister, allOutputs))
}

// findProtection finds out whether the link between the expander and the EEPROM's write
// protection is soldered. If so, the pin is high without a pull-up in the expander, since
// the EEPROM's side has one. The pull-up register keeps the answer: the pin's pull-up is
// off if the link is soldered.
func (e *expander) findProtection() error {
	pullUps, err := e.chip.read(pullUpRegister)
	if err != nil {
		return nil // a part without pull-ups
	}
	if err := e.chip.write(pullUpRegister, pullUps&^protectPin); err != nil {
		return err
	}
	pins, err := e.chip.read(inputRegister)
	if err != nil || pins&protectPin != 0 {
		return err
	}
	return e.chip.write(pullUpRegister, pullUps|protectPin)
}

func (e *expander) Report() (Report, error) {
	r := e.hat.report(e)
	direction, err := e.chip.read(directionRegister)
	if err != nil {
		return r, err
	}
	pins, err := e.chip.read(inputRegister)
	if err != nil {
		return r, err
	}
	r.Ready = direction != allInputs
	r.Alert = known(pins&alertPin != 0)
	r.Hub = known(pins&hubPin != 0 == e.version.hubOn())
	r.Protected = known(pins&protectPin != 0)
	if e.version.hasLED() {
		r.LED = known(pins&ledPin != 0)
	}
	if pullUps, err := e.chip.read(pullUpRegister); err == nil {
		r.ProtectLink = known(pullUps&protectPin == 0)
	}
	r.PullUps = known(r.ProtectLink != nil)
	return r, nil
}

func known(value bool) *bool { return &value }
