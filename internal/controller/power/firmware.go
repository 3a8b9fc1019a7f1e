package power

import (
	"errors"
	"fmt"
	"time"
)

// Registers of a ClusterCTRL board. Source of registers, commands and status: the
// boards' firmware, up to version 1.8.
const (
	versionRegister  = 0x00
	maxNodesRegister = 0x01
	orderRegister    = 0x02
	modeRegister     = 0x03
	typeRegister     = 0x04
	data7Register    = 0x05
	data0Register    = 0x0c // the first of eight; data7 is at 0x05
	commandRegister  = 0x0d // 0 when the board is not busy
	statusRegister   = 0x0e // of the last command
)

// A command is what the firmware does when its number is written.
type command byte

const (
	powerOn       command = 0x03 // data0: node
	powerOff      command = 0x04 // data0: node
	alertOn       command = 0x05 // data0: node
	alertOff      command = 0x06 // data0: node
	hubCycle      command = 0x07 // data0: how long, in units of 10 ms
	ledsOn        command = 0x0a
	ledsOff       command = 0x0b
	reset         command = 0x0e
	powerStatus   command = 0x0f // data0: node; answers 1 or 0 in data0
	fan           command = 0x10 // data0: 1 or 0
	usbPath       command = 0x11 // data0: node, 0 for the board; answers ports
	usbBootOn     command = 0x12 // data0: node
	usbBootOff    command = 0x13 // data0: node
	usbBootStatus command = 0x14 // data0: node
	setOrder      command = 0x15 // data0: order
	actLEDOn      command = 0x16
	actLEDOff     command = 0x17
	getData       command = 0xf2 // data0: what
)

// Saved is a setting that a board can keep without power. [SaveDefaults] makes the board
// forget all that was saved.
type Saved command

const (
	SaveAll      Saved = 0xf0
	SaveDefaults Saved = 0xf1
	SaveOrder    Saved = 0xf3
	SaveUSBBoot  Saved = 0xf4
	SavePower    Saved = 0xf5
)

// What getData returns, by the number in data0.
const (
	firmwareVersion = 0 // data1.data0
	adcCount        = 1 // in data0
	adcRead         = 2 // data1: number, from 1; answers as millivolts takes it
	temperature     = 3 // answers as celsius takes it
	fanStatus       = 4 // 1 or 0 in data0; from firmware 1.6
)

const (
	noValue     = 0xff
	hubOffUnits = 100 // a second
	maxADCs     = 8   // more than any board has
)

// Status of a command that was not done.
const statusNotSupported = 1

var statuses = map[byte]string{
	statusNotSupported: "the firmware does not support it",
	2:                  "the board has no such node",
	3:                  "the firmware does not know the command",
	4:                  "the board should have reset itself",
}

// A FirmwareError is the status of a command that a board did not do.
type FirmwareError struct {
	Command byte
	Status  byte
}

func (e *FirmwareError) Error() string {
	words, ok := statuses[e.Status]
	if !ok {
		words = "an unknown status"
	}
	return fmt.Sprintf("command %#02x: %s (status %d)", e.Command, words, e.Status)
}

// ErrBusy says that a board did not finish a command in time.
var ErrBusy = errors.New("the board is still busy")

// do has the board run a command, or shows what would be written.
func (b *Ctrl) do(c command, args ...byte) error {
	if b.chip.show != nil {
		return b.send(c, args...)
	}
	_, err := b.ask(c, args...)
	return err
}

// ask runs a command and returns data0 to data7. Other commands have to wait.
func (b *Ctrl) ask(c command, args ...byte) (data [8]byte, err error) {
	unlock, err := b.chip.Lock()
	if err != nil {
		return data, err
	}
	defer unlock()
	asking := *b
	asking.chip.show = nil
	if err := asking.send(c, args...); err != nil {
		return data, err
	}
	if err := b.await(); err != nil {
		return data, fmt.Errorf("command %#02x: %w", byte(c), err)
	}
	status, err := b.chip.read(statusRegister)
	if err != nil {
		return data, err
	}
	if status != 0 {
		return data, &FirmwareError{byte(c), status}
	}
	for i := range c.results() {
		if data[i], err = b.chip.read(data0Register - byte(i)); err != nil {
			return data, err
		}
	}
	return data, nil
}

// results is how many bytes of answer a command has.
func (c command) results() int {
	switch c {
	case powerStatus, usbBootStatus:
		return 1
	case getData:
		return 3
	case usbPath:
		return 8
	}
	return 0
}

// send writes the arguments and the command.
func (b *Ctrl) send(c command, args ...byte) error {
	for i, arg := range args {
		if err := b.put(data0Register-byte(i), arg); err != nil {
			return err
		}
	}
	return b.put(commandRegister, byte(c))
}

// put writes a register. A board that does not acknowledge it is busy with an
// earlier command.
func (b *Ctrl) put(register, value byte) (err error) {
	if b.chip.show != nil {
		b.chip.show(register, value)
		return nil
	}
	for range attempts {
		err = b.chip.writeOnce(register, value)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrNAK) {
			if busy := b.await(); busy != nil {
				return busy
			}
		}
	}
	return fmt.Errorf("write register %#02x: %w", register, err)
}

// pace is the pause between two questions to a busy board, which gives no sign when it
// is done.
const pace = 5 * time.Millisecond

// await returns once the board is not busy.
func (b *Ctrl) await() error {
	for end := time.Now().Add(b.patience); ; time.Sleep(pace) {
		running, err := b.chip.read(commandRegister)
		if err != nil || running == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w after %v, with command %#02x", ErrBusy, b.patience, running)
		}
	}
}

// Kinds of what an ADC measures, in data0; data2 and data1 have the raw value.
const temperatureKind = 2

// millivolts converts what an ADC answers, if it is of a known kind. The second
// kind measures behind a divider.
func millivolts(data [8]byte) (mV float64, ok bool) {
	switch raw := float64(raw(data)); data[0] {
	case 1:
		return raw * 6.4453125, true
	case 2:
		return raw * 33.34093896, true
	}
	return 0, false
}

func celsius(data [8]byte) float64 { return (float64(raw(data)) - 247) / 1.22 }

func raw(data [8]byte) uint16 { return uint16(data[2])<<8 | uint16(data[1]) }
