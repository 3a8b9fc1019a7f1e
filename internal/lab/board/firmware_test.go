package board

import (
	"fmt"
	"testing"
)

// TestFirmware holds the firmware against what is known of the real one: each script
// is a conversation with a fresh board.
func TestFirmware(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		board        *Firmware
	}{
		{name: "identity", board: &Firmware{Kind: APlus6}, script: `
			r 01 05 14 00 03
			w 01 07 07 07 07
			r 01 05 14 00 03`},
		{name: "power", board: &Firmware{Kind: PHAT}, script: `
			w 0c 02
			w 0d 03
			r 0d 00 00
			w 0d 0f
			r 0c 01
			w 0c 01 0f
			r 0c 00 00 00
			w 0c 02 04
			w 0c 02 0f
			r 0c 00 00 00`},
		{name: "no such node", board: &Firmware{Kind: PHAT}, script: `
			w 0c 03 03
			r 0e 02
			w 0c 00 03
			r 0e 02
			w 0c 03 0f
			r 0c ff 00 02
			w 0c 03 11
			r 0e 02
			w 0c 03 05
			r 0e 02`},
		{name: "busy", board: &Firmware{Kind: PHAT, Busy: 2}, script: `
			w 0c 01
			w 0d 03
			w 0c 02 refused
			w 0d 04 refused
			r 0c 01
			r 0d 03
			w 0c 02 refused
			r 0d 03
			r 0d 00
			r 0e 00
			w 0c 02
			w 0d 63
			r 0d 63
			r 0d 63
			r 0d 00
			r 0e 03`},
		{name: "hangs", board: &Firmware{Kind: PHAT, Busy: -1}, script: `
			w 0d 0b
			r 0d 0b
			r 0d 0b
			r 0d 0b
			w 0d 0a refused`},
		{name: "hub", board: &Firmware{Kind: PHAT}, script: `
			w 0d 08
			r 0e 01
			w 0d 09
			r 0e 01
			w 0c 32 07
			r 0e 00`},
		{name: "order", board: &Firmware{Kind: PHAT}, script: `
			w 0c 00 15
			r 0e 01
			r 02 14
			w 0c 07 15
			r 0e 00
			r 02 07`},
		{name: "USB boot", board: &Firmware{Kind: Triple}, script: `
			w 0c 03 14
			r 0c 00 00 00
			w 0c 03 12
			w 0c 03 14
			r 0c 01 00 00
			w 0c 03 13
			w 0c 03 14
			r 0c 00`},
		{name: "no USB boot", board: &Firmware{Kind: Stack}, script: `
			w 0c 01 14
			r 0c ff
			w 0c 01 12
			r 0e 01`},
		{name: "paths", board: &Firmware{Kind: DA}, script: `
			w 0c 06 11
			r 05 02 02 ff ff ff ff ff ff 00 00
			w 0c 00 11
			r 05 07 ff ff ff ff ff ff ff 00 00`},
		{name: "no path", board: &Firmware{Kind: Stack}, script: `
			w 0c 01 11
			r 0e 01`},
		{name: "version", board: &Firmware{Kind: DA}, script: `
			w 0c 00 f2
			r 0b 01 08 00 00`},
		{name: "measures", board: &Firmware{Kind: DA, ADC: []Reading{{1, 0x0321}, {2, 0x0096}}, Temperature: 0x0117}, script: `
			w 0c 01 f2
			r 0c 02 00 00
			w 0b 01 02 f2
			r 0a 03 21 01 00 00
			w 0b 02 02 f2
			r 0a 00 96 02 00 00
			w 0b 03 02 f2
			r 0e 01
			w 0b 00 02 f2
			r 0e 01
			w 0c 03 f2
			r 0a 01 17 02 00 00
			w 0c 05 f2
			r 0e 01`},
		{name: "fan", board: &Firmware{Kind: DA}, script: `
			w 0c 01 10
			w 0c 04 f2
			r 0c 01 00 00`},
		{name: "old", board: &Firmware{Kind: DA, Version: [2]byte{1, 5}}, script: `
			w 0c 00 f2
			r 0b 01 05
			w 0c 04 f2
			r 0e 01`},
		{name: "cannot restart", board: &Firmware{Kind: DA}, script: `
			w 0d 0e
			r 0e 04`},
		{name: "nonsense", board: &Firmware{Kind: DA, Nonsense: map[byte]byte{0x01: 0xff, 0x0e: 0x77}}, script: `
			r 01 ff
			w 0c 21 03
			r 0e 77`},
		{name: "unknown", board: &Firmware{Kind: DA}, script: `
			w 0d 02
			r 0e 03
			r 0f ff ff`},
	} {
		t.Run(tt.name, func(t *testing.T) { host{t, tt.board.Device()}.do(tt.script) })
	}
}

// TestSaved saves parts of a state, takes the power away, and wants what was saved.
func TestSaved(t *testing.T) {
	var switched []string
	j := new(Journal)
	f := &Firmware{Kind: Triple, Name: "triple", Journal: j,
		Switched: func(x int, on bool) { switched = append(switched, fmt.Sprint(x, on)) }}
	h := host{t, f.Device()}
	h.do(`
		w 0c 09 15
		w 0c 02 12
		w 0c 03 03
		w 0c 01 03
		w 0d 16
		w 0d 0d`)
	want := "triple 0c=09\ntriple 0d=15\ntriple 0c=02\ntriple 0d=12\ntriple 0c=03\ntriple 0d=03\ntriple 0c=01\ntriple 0d=03\ntriple 0d=16\ntriple 0d=0d\n"
	if got := written(j); got != want {
		t.Errorf("journal:\n%swant\n%s", got, want)
	}
	f.PowerOff()
	if got := f.State(); got != Delivered() {
		t.Errorf("after power-up: %+v, want as delivered", got)
	}
	h.do(`
		w 0c 09 15
		w 0c 02 12
		w 0c 03 03
		w 0d f3
		w 0d f5
		w 0c 01 03`)
	f.PowerOff()
	wanted := Delivered()
	wanted.Order, wanted.Power[3] = 9, true
	if got := f.State(); got != wanted {
		t.Errorf("after power-up: %+v, want %+v", got, wanted)
	}
	h.do(`
		w 0c 02 12
		w 0d f0
		w 0d f1`)
	f.PowerOff()
	if got := f.State(); got != Delivered() {
		t.Errorf("after power-up: %+v, want as delivered", got)
	}
	if got, want := fmt.Sprint(switched), "[3 true 1 true 1 false 3 false 3 true 1 true 1 false 3 false 3 true 3 false]"; got != want {
		t.Errorf("switched %s, want %s", got, want)
	}
}
