package board

import "time"

// Commands of a ClusterCTRL board. Their argument is in data0, where they have one;
// x is a node's number on the board.
const (
	powerOn       = 0x03 // x
	powerOff      = 0x04 // x
	alertOn       = 0x05 // x, or 0 for the board's own
	alertOff      = 0x06
	hubCycle      = 0x07 // time in units of 10 ms
	hubOn         = 0x08 // defined, but no firmware does it
	hubOff        = 0x09
	ledsOn        = 0x0a
	ledsOff       = 0x0b
	powerLEDOn    = 0x0c
	powerLEDOff   = 0x0d
	restartBoard  = 0x0e
	powerStatus   = 0x0f // x; answer: 0, 1, or 0xff for no such node
	setFan        = 0x10 // 1 or 0
	usbPath       = 0x11 // x, or 0 for the board; answer: ports in data7 and on, then 0xff
	usbBootOn     = 0x12 // x
	usbBootOff    = 0x13 // x
	usbBootStatus = 0x14 // x; answer: 0, 1, or 0xff for not built in
	setOrder      = 0x15 // order
	actLEDOn      = 0x16
	actLEDOff     = 0x17
	saveAll       = 0xf0
	saveDefaults  = 0xf1
	getData       = 0xf2 // what
	saveOrder     = 0xf3
	saveUSBBoot   = 0xf4
	savePower     = 0xf5
	saveLEDs      = 0xf6
)

// What getData answers with, by the number in data0.
const (
	firmwareVersion = 0 // answer: minor, major
	adcCount        = 1
	adcRead         = 2 // number in data1, from 1; answer: kind, low byte, high byte
	temperature     = 3 // the same
	fanStatus       = 4 // since firmware 1.6
)

// What the status register says of the last command.
const (
	done           = 0
	notSupported   = 1
	noSuchPi       = 2
	unknownCommand = 3
	notRestarted   = 4
)

// celsius is the kind of a temperature.
const celsius = 2

// do does a command and returns its status.
func (f *Firmware) do(command byte) byte {
	switch command {
	case powerOn, powerOff, powerStatus, usbBootOn, usbBootOff, usbBootStatus, alertOn, alertOff, usbPath:
		return f.doNode(command, f.memory[data0Register])
	case saveAll, saveDefaults, saveOrder, saveUSBBoot, savePower, saveLEDs:
		return f.save(command)
	case getData:
		return f.data(f.memory[data0Register], f.memory[data0Register-1])
	}
	return f.doBoard(command, f.memory[data0Register])
}

// doNode does a command that is about node x or, if x is 0 and the command allows it,
// about the board.
func (f *Firmware) doNode(command, x byte) byte {
	boardToo := command == alertOn || command == alertOff || command == usbPath
	if x > f.MaxPi || x == 0 && !boardToo {
		if command == powerStatus {
			f.answer(0xff)
		}
		return noSuchPi
	}
	s := &f.now
	switch command {
	case powerOn, powerOff:
		f.power(int(x), command == powerOn)
	case alertOn, alertOff:
		s.Alert[x] = command == alertOn
	case powerStatus:
		f.answer(number(s.Power[x]))
	case usbPath:
		if !f.USBPath {
			return notSupported
		}
		f.path(f.port(x)...)
	case usbBootOn, usbBootOff:
		if !f.USBBoot {
			return notSupported
		}
		s.USBBoot[x] = command == usbBootOn
	case usbBootStatus:
		if !f.USBBoot {
			f.answer(0xff)
			return notSupported
		}
		f.answer(number(s.USBBoot[x]))
	}
	return done
}

// port returns the ports that lead from the board's hub to node x, or to the board itself
// if x is 0. Where f.Ports does not say, a DA has hubs of four ports behind its hub.
func (f *Firmware) port(x byte) []byte {
	switch {
	case f.Ports != nil:
		return f.Ports(int(x))
	case x == 0:
		return []byte{7}
	case f.Product == DA.Product:
		return []byte{1 + (x-1)/4, 1 + (x-1)%4}
	}
	return []byte{x}
}

// doBoard does a command that is about the board.
func (f *Firmware) doBoard(command, argument byte) byte {
	s := &f.now
	switch command {
	case hubCycle:
		if f.Cycled != nil {
			f.Cycled(time.Duration(max(argument, 10)) * 10 * time.Millisecond)
		}
	case hubOn, hubOff:
		return notSupported
	case ledsOn, ledsOff:
		s.LEDs = command == ledsOn
	case powerLEDOn, powerLEDOff:
		s.PowerLED = command == powerLEDOn
	case actLEDOn, actLEDOff:
		s.ACT = command == actLEDOn
	case restartBoard:
		if f.Restarted == nil {
			return notRestarted
		}
		f.restart()
		f.Restarted()
	case setFan:
		s.Fan = argument
	case setOrder:
		if argument < 1 {
			return notSupported
		}
		s.Order = argument
	default:
		return unknownCommand
	}
	return done
}

// save saves a part of the board's state, or the state in which boards are delivered.
func (f *Firmware) save(command byte) byte {
	switch command {
	case saveAll:
		f.saved = f.now
	case saveDefaults:
		f.saved = Delivered()
	case saveOrder:
		f.saved.Order = f.now.Order
	case saveUSBBoot:
		if !f.USBBoot {
			return notSupported
		}
		f.saved.USBBoot = f.now.USBBoot
	case savePower:
		f.saved.Power = f.now.Power
	case saveLEDs:
		f.saved.LEDs, f.saved.PowerLED, f.saved.ACT = f.now.LEDs, f.now.PowerLED, f.now.ACT
	}
	return done
}

// data answers getData: with a fact about the board, or a measured value.
func (f *Firmware) data(what, which byte) byte {
	switch what {
	case firmwareVersion:
		f.answer(f.Version[1], f.Version[0])
	case adcCount:
		f.answer(byte(len(f.ADC)))
	case adcRead:
		if which < 1 || int(which) > len(f.ADC) {
			return notSupported
		}
		r := f.ADC[which-1]
		f.answer(r.Kind, byte(r.Raw), byte(r.Raw>>8))
	case temperature:
		f.answer(celsius, byte(f.Temperature), byte(f.Temperature>>8))
	case fanStatus:
		if f.Version[0] == 1 && f.Version[1] < 6 {
			return notSupported
		}
		f.answer(f.now.Fan)
	default:
		return notSupported
	}
	return done
}

func number(on bool) byte {
	if on {
		return 1
	}
	return 0
}
