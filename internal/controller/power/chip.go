package power

import (
	"errors"
	"fmt"
)

// A Bus carries messages to the chips on an I2C bus.
type Bus interface {
	// Transfer writes bytes to a chip, then reads bytes from it, in one
	// transaction. Either may be empty.
	Transfer(chip uint16, write, read []byte) error
	Locker
	Close() error
}

// A Locker keeps other commands off a device until unlock is called.
type Locker interface {
	Lock() (unlock func(), err error)
}

// ErrNAK is what a bus returns if a chip does not acknowledge a byte.
var ErrNAK = errors.New("no acknowledgement")

// chipAddr is the I2C address of the HAT's expander, and of the firmware of each board.
const chipAddr = 0x20

// attempts is how often a failing transaction is tried.
const attempts = 3

// A chip is a device on an I2C bus that has registers of a byte each.
type chip struct {
	Bus
	place string // of the bus, in messages: "i2c-1"
	// show, where it is set, gets the writes that would switch something, in place of
	// the chip.
	show func(register, value byte)
}

func (c chip) String() string { return fmt.Sprintf("%s, address %#x", c.place, chipAddr) }

func (c chip) read(register byte) (byte, error) {
	var value [1]byte
	err := again(func() error { return c.Transfer(chipAddr, []byte{register}, value[:]) })
	if err != nil {
		return 0, fmt.Errorf("read register %#02x: %w", register, err)
	}
	return value[0], nil
}

func (c chip) write(register, value byte) error {
	if c.show != nil {
		c.show(register, value)
		return nil
	}
	err := again(func() error { return c.writeOnce(register, value) })
	if err != nil {
		return fmt.Errorf("write register %#02x: %w", register, err)
	}
	return nil
}

func (c chip) writeOnce(register, value byte) error {
	return c.Transfer(chipAddr, []byte{register, value}, nil)
}

// again tries a transaction until it succeeds, a bounded number of times: a bus of
// long wires fails now and then.
func again(transfer func() error) (err error) {
	for range attempts {
		if err = transfer(); err == nil {
			return nil
		}
	}
	return err
}
