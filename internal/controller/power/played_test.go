package power

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing/fstest"
	"time"
)

// A playedBus is a bus with one chip in memory. It records what is written to the
// chip, such as "01=81" for register 1, and fails as it is told to.
type playedBus struct {
	sync.Mutex
	read   func(register byte) byte
	write  func(register, value byte)
	busy   func(register byte) bool // whether a write is not acknowledged
	fail   func(n int) error        // of transaction n, from 1
	missed bool                     // there is no chip
	n      int
	writes []string
	closed bool
}

func (b *playedBus) Transfer(addr uint16, write, read []byte) error {
	b.n++
	if b.fail != nil {
		if err := b.fail(b.n); err != nil {
			return err
		}
	}
	if b.missed || addr != 0x20 {
		return ErrNAK
	}
	register := write[0]
	for _, value := range write[1:] {
		if b.busy != nil && b.busy(register) {
			return ErrNAK
		}
		b.writes = append(b.writes, fmt.Sprintf("%02x=%02x", register, value))
		b.write(register, value)
	}
	for i := range read {
		read[i] = b.read(register)
	}
	return nil
}

func (b *playedBus) Lock() (func(), error) { b.Mutex.Lock(); return b.Mutex.Unlock, nil }
func (b *playedBus) Close() error          { b.closed = true; return nil }

// written returns what was written since it was last called.
func (b *playedBus) written() string {
	s := strings.Join(b.writes, " ")
	b.writes = nil
	return s
}

// A playedExpander is the chip of a ClusterHAT v2 or v3. Pins that are inputs have
// the level of what is around them.
type playedExpander struct {
	playedBus
	output, direction, pullUps byte
	around                     byte
	noPullUps                  bool
}

func newPlayedExpander() *playedExpander {
	e := &playedExpander{output: 0xff, direction: 0xff, pullUps: 0xff}
	e.playedBus.read = e.readRegister
	e.playedBus.write = e.writeRegister
	e.fail = nil
	return e
}

func (e *playedExpander) Transfer(addr uint16, write, read []byte) error {
	if e.noPullUps && write[0] == 4 {
		return ErrNAK
	}
	return e.playedBus.Transfer(addr, write, read)
}

func (e *playedExpander) readRegister(register byte) byte {
	switch register {
	case 0:
		return e.output&^e.direction | (e.around|e.pullUps&0x80&^e.around)&e.direction
	case 1:
		return e.output
	case 3:
		return e.direction
	case 4:
		return e.pullUps
	}
	return 0
}

func (e *playedExpander) writeRegister(register, value byte) {
	switch register {
	case 1:
		e.output = value
	case 3:
		e.direction = value
	case 4:
		e.pullUps = value
	}
}

// A playedCtrl is the firmware of a ClusterCTRL board.
type playedCtrl struct {
	playedBus
	registers [16]byte
	power     [33]bool
	looks     int // how often the command register is read until a command is done
	left      int
	usbBoot   bool
	paths     map[byte][]byte
	seen      []string // commands and their arguments data0 and data1
}

func newPlayedCtrl(nodes, order, kind byte) *playedCtrl {
	c := &playedCtrl{registers: [16]byte{0: 2, 1: nodes, 2: order, 4: kind}}
	c.playedBus.read = c.readRegister
	c.playedBus.write = c.writeRegister
	c.busy = func(byte) bool { return c.registers[0x0d] != 0 }
	return c
}

func (c *playedCtrl) readRegister(register byte) byte {
	value := c.registers[register]
	if register == 0x0d && value != 0 {
		if c.left--; c.left <= 0 {
			c.registers[0x0d] = 0
		}
	}
	return value
}

func (c *playedCtrl) writeRegister(register, value byte) {
	c.registers[register] = value
	if register == 0x0d {
		c.left = c.looks
		c.registers[0x0e] = c.run(value)
	}
}

func (c *playedCtrl) run(command byte) (status byte) {
	data := func(i int) *byte { return &c.registers[0x0c-i] }
	x := *data(0)
	c.seen = append(c.seen, fmt.Sprintf("%02x(%d,%d)", command, x, *data(1)))
	nodes := c.registers[1]
	switch command {
	case 0x03, 0x04, 0x05, 0x06, 0x12, 0x13:
		if x < 1 || x > nodes {
			return 2
		}
		if command == 0x03 || command == 0x04 {
			c.power[x] = command == 0x03
		}
		return 0
	case 0x0f:
		if x < 1 || x > nodes {
			*data(0) = 0xff
			return 2
		}
		*data(0) = map[bool]byte{true: 1}[c.power[x]]
	case 0x11:
		if c.paths == nil {
			return 1
		}
		for i := range 8 {
			*data(i) = 0xff
		}
		for i, port := range c.paths[x] {
			*data(7 - i) = port
		}
	case 0x14:
		*data(0) = 0xff
		if c.usbBoot {
			*data(0) = map[bool]byte{true: 1}[x == 1]
		}
	case 0x15:
		if x < 1 {
			return 1
		}
		c.registers[2] = x
	case 0xf2:
		switch x {
		case 0:
			*data(1), *data(0) = 1, 8
		case 1:
			*data(0) = 2
		case 2:
			n := *data(1)
			*data(2), *data(1), *data(0) = 3, 0x0c, n // 780
		case 3:
			*data(2), *data(1), *data(0) = 1, 0x1c, 2 // 284
		case 4:
			*data(0) = 1
		default:
			return 1
		}
	case 0x07, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x16, 0x17, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf6:
	default:
		return 3
	}
	return 0
}

// playedLines are the pins of a Pi.
type playedLines struct {
	sync.Mutex
	output map[int]bool // level, of lines that are outputs
	sets   []string
}

func (l *playedLines) Get(line int) (level, output bool, err error) {
	level, output = l.output[line]
	return level || !output, output, nil // inputs are pulled up
}

func (l *playedLines) Set(line int, level bool) error {
	l.output[line] = level
	l.sets = append(l.sets, fmt.Sprintf("%d=%d", line, digit(level)))
	return nil
}

func (l *playedLines) Lock() (func(), error) { l.Mutex.Lock(); return l.Mutex.Unlock, nil }
func (l *playedLines) Close() error          { return nil }

// A bench is a machine with played boards, by the name of their device.
type bench struct {
	Machine
	files fstest.MapFS
	buses map[string]Bus
	lines *playedLines
}

func newBench() *bench {
	b := &bench{files: fstest.MapFS{}, buses: map[string]Bus{}, lines: &playedLines{output: map[int]bool{}}}
	b.Machine = Machine{Files: b.files, OpenBus: b.open, OpenLines: func() (Lines, error) { return b.lines, nil }}
	return b
}

var errNoDevice = errors.New("no such device")

func (b *bench) open(device string) (Bus, error) {
	bus, ok := b.buses[device]
	if !ok {
		return nil, errNoDevice
	}
	return bus, nil
}

// hat puts a ClusterHAT's EEPROM on the machine.
func (b *bench) hat(productVersion string) {
	for name, text := range map[string]string{"product": "ZC4:ClusterHAT", "product_ver": productVersion, "product_id": "0x0004",
		"vendor": "8086 Consultancy", "uuid": "83c43fdc-0000-0000-0000-000000000001"} {
		b.files["proc/device-tree/hat/"+name] = &fstest.MapFile{Data: []byte(text + "\x00")}
	}
}

func (b *bench) expander(productVersion string) *playedExpander {
	b.hat(productVersion)
	e := newPlayedExpander()
	b.buses["i2c-1"] = e
	return e
}

func (b *bench) ctrl(bus string, c *playedCtrl) *playedCtrl {
	b.files["dev/ClusterCTRL-"+bus] = &fstest.MapFile{}
	b.buses["ClusterCTRL-"+bus] = c
	return c
}

func (b *bench) boards(o Options) (Boards, error) {
	if o.Size == 0 {
		o.Size = 4
	}
	boards, err := b.Boards(o)
	for _, board := range boards {
		if hat, ok := board.(*expander); ok {
			hat.pause = func(time.Duration) {}
		}
	}
	return boards, err
}
