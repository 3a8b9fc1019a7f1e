package power

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"clusterctrl/internal/node"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestExpanderStart: what the first run writes, by version of the HAT, level of
// the nodes' pins (high where the link for the state at power-up is cut), and
// whether the link of the EEPROM's protection is soldered. A second run writes
// nothing.
func TestExpanderStart(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		around        byte
		noPullUps     bool
		want          string
	}{
		{"v2.0: hub on is high", "0x0020", 0x00, false, "04=7f 04=ff 01=b0 03=00"},
		{"v2.1: hub on is low", "0x0021", 0x00, false, "04=7f 04=ff 01=90 03=00"},
		{"v2.4, power-up link cut", "0x0024", 0x0f, false, "04=7f 04=ff 01=9f 03=00"},
		{"v2.4, one node's pin low", "0x0024", 0x0e, false, "04=7f 04=ff 01=90 03=00"},
		{"v2.6, protection link soldered", "0x0026", 0x80, false, "04=7f 01=90 03=00"},
		{"v2.3 without pull-ups", "0x0023", 0x80, true, "01=90 03=00"},
		{"v3.0: no LED", "0x0030", 0x00, false, "04=7f 04=ff 01=80 03=00"},
		{"v3.1, power-up link cut", "0x0031", 0x8f, false, "04=7f 01=8f 03=00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			e := b.expander(tt.version)
			e.around, e.noPullUps = tt.around, tt.noPullUps
			hat := must[Boards](t)(b.boards(Options{}))[0]
			if got := e.written(); got != "" {
				t.Errorf("finding the board wrote %s", got)
			}
			if err := hat.SetPower(1, true); !errors.Is(err, errNotStarted) || e.written() != "" {
				t.Errorf("switching before the first run: %v", err)
			}
			first, err := hat.Start()
			if got := e.written(); got != tt.want || !first || err != nil {
				t.Errorf("first run wrote %s, returned %t, %v; want %s", got, first, err, tt.want)
			}
			first, err = hat.Start()
			if got := e.written(); got != "" || first || err != nil {
				t.Errorf("second run wrote %s, returned %t, %v", got, first, err)
			}
		})
	}
}

// TestExpanderWrites: each verb changes its pins and no other.
func TestExpanderWrites(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		do            func(Board) error
		want          string // the output register has 0xaa before
	}{
		{"p1 on", "0x0024", func(b Board) error { return b.SetPower(1, true) }, "01=ab"},
		{"p4 off", "0x0024", func(b Board) error { return b.SetPower(4, false) }, "01=a2"},
		{"p3 on", "0x0031", func(b Board) error { return b.SetPower(3, true) }, "01=ae"},
		{"LED off", "0x0024", func(b Board) error { return b.Set(LEDs, 0, false) }, "01=aa"},
		{"LED on", "0x0024", func(b Board) error { return b.Set(LEDs, 0, true) }, "01=ba"},
		{"hub off, v2.0", "0x0020", func(b Board) error { return b.Set(Hub, 0, false) }, "01=8a"},
		{"hub on, v2.0", "0x0020", func(b Board) error { return b.Set(Hub, 0, true) }, "01=aa"},
		{"hub off, v2.1", "0x0021", func(b Board) error { return b.Set(Hub, 0, false) }, "01=aa"},
		{"hub on, v3.0", "0x0030", func(b Board) error { return b.Set(Hub, 0, true) }, "01=8a"},
		{"hub cycled, v3.1", "0x0031", Board.CycleHub, "01=aa 01=8a"},
		{"alert on", "0x0024", func(b Board) error { return b.Set(Alert, 2, true) }, "01=ea"},
		{"protection off", "0x0024", func(b Board) error { return b.Set(WriteProtect, 0, false) }, "01=2a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			e := b.expander(tt.version)
			e.direction, e.output = 0, 0xaa
			hat := must[Boards](t)(b.boards(Options{}))[0]
			err := tt.do(hat)
			if got := e.written(); got != tt.want || err != nil {
				t.Errorf("wrote %s, %v; want %s", got, err, tt.want)
			}
		})
	}
	b := newBench()
	b.expander("0x0030").direction = 0
	hat := must[Boards](t)(b.boards(Options{}))[0]
	for _, f := range []Feature{LEDs, USBBoot, ActLED, Fan} {
		if err := hat.Set(f, 1, true); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("v3 and %s: %v", f, err)
		}
	}
}

// TestPins: the lines of a ClusterHAT v1.
func TestPins(t *testing.T) {
	b := newBench()
	b.hat("0x0013")
	hat := must[Boards](t)(b.boards(Options{HubPath: "1-1.2"}))[0]
	on, err := hat.Power(1)
	if on || err != nil {
		t.Errorf("a line that is an input: power %t, %v", on, err)
	}
	first, err := hat.Start()
	again, err2 := hat.Start()
	if !first || again || err != nil || err2 != nil {
		t.Errorf("first run: %t, %v; second: %t, %v", first, err, again, err2)
	}
	for _, err := range []error{hat.SetPower(1, true), hat.SetPower(2, true), hat.SetPower(3, true), hat.SetPower(4, true), hat.SetPower(3, false), hat.Set(Alert, 0, true)} {
		if err != nil {
			t.Error(err)
		}
	}
	want := "6=0 13=0 19=0 26=0 5=0 6=1 13=1 19=1 26=1 19=0 5=1"
	if got := strings.Join(b.lines.sets, " "); got != want {
		t.Errorf("set %s; want %s", got, want)
	}
	if on, err := hat.Power(4); !on || err != nil {
		t.Errorf("p4 on: %t, %v", on, err)
	}
	if path, err := hat.Path(1); path != "1-1.2.4" || err != nil {
		t.Errorf("path of p1: %s, %v", path, err)
	}
}

// TestCtrlWrites: each verb writes its arguments, then its command.
func TestCtrlWrites(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Ctrl) error
		want string
	}{
		{"on", func(b *Ctrl) error { return b.SetPower(3, true) }, "0c=03 0d=03"},
		{"off", func(b *Ctrl) error { return b.SetPower(5, false) }, "0c=05 0d=04"},
		{"alert on one", func(b *Ctrl) error { return b.Set(Alert, 2, true) }, "0c=02 0d=05"},
		{"alert off all", func(b *Ctrl) error { return b.Set(Alert, 0, false) }, "0c=01 0d=06 0c=02 0d=06 0c=03 0d=06 0c=04 0d=06 0c=05 0d=06"},
		{"hub", (*Ctrl).CycleHub, "0c=64 0d=07"},
		{"LEDs on", func(b *Ctrl) error { return b.Set(LEDs, 0, true) }, "0d=0a"},
		{"LEDs off", func(b *Ctrl) error { return b.Set(LEDs, 0, false) }, "0d=0b"},
		{"reset", (*Ctrl).Reset, "0d=0e"},
		{"fan on", func(b *Ctrl) error { return b.Set(Fan, 0, true) }, "0c=01 0d=10"},
		{"fan off", func(b *Ctrl) error { return b.Set(Fan, 0, false) }, "0c=00 0d=10"},
		{"USB boot on", func(b *Ctrl) error { return b.Set(USBBoot, 1, true) }, "0c=01 0d=12"},
		{"USB boot off", func(b *Ctrl) error { return b.Set(USBBoot, 1, false) }, "0c=01 0d=13"},
		{"order", func(b *Ctrl) error { return b.SetOrder(30) }, "0c=1e 0d=15"},
		{"activity LED on", func(b *Ctrl) error { return b.Set(ActLED, 0, true) }, "0d=16"},
		{"activity LED off", func(b *Ctrl) error { return b.Set(ActLED, 0, false) }, "0d=17"},
		{"save", func(b *Ctrl) error { return b.Save(SaveAll) }, "0d=f0"},
		{"defaults", func(b *Ctrl) error { return b.Save(SaveDefaults) }, "0d=f1"},
		{"save order", func(b *Ctrl) error { return b.Save(SaveOrder) }, "0d=f3"},
		{"save USB boot", func(b *Ctrl) error { return b.Save(SaveUSBBoot) }, "0d=f4"},
		{"save power", func(b *Ctrl) error { return b.Save(SavePower) }, "0d=f5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			played := b.ctrl("20", newPlayedCtrl(5, 20, 3))
			boards := must[Boards](t)(b.boards(Options{}))
			if got := played.written(); got != "" {
				t.Errorf("finding the board wrote %s", got)
			}
			err := tt.do(boards[0].(*Ctrl))
			if got := played.written(); got != tt.want || err != nil {
				t.Errorf("wrote %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestCtrlReport(t *testing.T) {
	b := newBench()
	played := b.ctrl("20", newPlayedCtrl(3, 20, 1))
	played.usbBoot = true
	r, err := must[Boards](t)(b.boards(Options{}))[0].Report()
	if err != nil {
		t.Fatal(err)
	}
	if r.Board != "ClusterCTRL Triple of order 20 (i2c-20, address 0x20)" || r.Firmware != "1.8" || *r.Fan != true {
		t.Errorf("%+v", r)
	}
	// 780 of kind 1 and of kind 2; 284 as a temperature.
	if len(r.Millivolts) != 2 || int(r.Millivolts[0]) != 5027 || int(r.Millivolts[1]) != 26005 || int(*r.Temperature*100) != 3032 {
		t.Errorf("%v mV, %v C", r.Millivolts, *r.Temperature)
	}
	if len(r.USBBoot) != 3 || !*r.USBBoot[0] || *r.USBBoot[1] {
		t.Errorf("USB boot %v", r.USBBoot)
	}
	for _, w := range played.seen {
		if !strings.HasPrefix(w, "f2(") && !strings.HasPrefix(w, "14(") {
			t.Errorf("a report ran command %s", w)
		}
	}
}

// TestNumbers: the HAT's nodes come first, then the boards' by order.
func TestNumbers(t *testing.T) {
	b := newBench()
	b.expander("0x0024").direction = 0
	late, early := b.ctrl("11", newPlayedCtrl(5, 30, 3)), b.ctrl("12", newPlayedCtrl(2, 20, 2))
	boards := must[Boards](t)(b.boards(Options{Size: 3}))
	if boards.MaxNodes() != 10 {
		t.Errorf("%d nodes, want 10", boards.MaxNodes())
	}
	s := Switch{Boards: boards}
	if err := s.Set(context.Background(), []node.ID{4, 5, 10}, true); err != nil {
		t.Fatal(err)
	}
	if got, want := early.written()+", "+late.written(), "0c=01 0d=0f 0c=01 0d=03 0c=02 0d=0f 0c=02 0d=03, 0c=05 0d=0f 0c=05 0d=03"; got != want {
		t.Errorf("wrote %s; want %s", got, want)
	}
	for _, words := range []string{"p11", "p10-p11", "p0", "p253", "p5-p2", "p", "on"} {
		if ids, err := boards.Parse([]string{words}); err == nil {
			t.Errorf("%s is %v", words, ids)
		}
	}
	if _, err := boards.Parse([]string{"p11"}); err.Error() != "p11: no board has it: want p1 to p10" {
		t.Error(err)
	}
	if _, err := (Boards{}).Parse([]string{"p1"}); !errors.Is(err, ErrNoBoard) {
		t.Error(err)
	}
	boards.Close()
	if !early.closed || !late.closed {
		t.Error("a bus was left open")
	}
}

// TestBadBoards: one clear line for each, and nothing written.
func TestBadBoards(t *testing.T) {
	for _, tt := range []struct {
		name string
		put  func(*bench)
		o    Options
		want string
	}{
		{"two of one order", func(b *bench) {
			b.ctrl("11", newPlayedCtrl(5, 20, 3))
			b.ctrl("12", newPlayedCtrl(2, 20, 2))
		}, Options{}, "two boards of order 20, on i2c-11 and i2c-12: unplug one, give the other another place (clusterctrl setorder 20 21, clusterctrl saveorder 21), and plug it in again"},
		{"order 0 is 1", func(b *bench) {
			b.ctrl("11", newPlayedCtrl(5, 0, 3))
			b.ctrl("12", newPlayedCtrl(2, 1, 2))
		}, Options{}, "two boards of order 1, "},
		{"no nodes", func(b *bench) { b.ctrl("11", newPlayedCtrl(0, 20, 3)) }, Options{},
			"ClusterCTRL board (i2c-11, address 0x20): its first registers are 02 00 14 00 03: want a version, 1 to 32 nodes, an order, a mode, and a type from 0 to 4"},
		{"nonsense", func(b *bench) {
			c := b.ctrl("11", newPlayedCtrl(5, 20, 3))
			c.read = func(byte) byte { return 0xff }
		}, Options{}, "ClusterCTRL board (i2c-11, address 0x20): its first registers are ff ff ff ff ff: want"},
		{"unplugged", func(b *bench) { b.files["dev/ClusterCTRL-11"] = &fstest.MapFile{} }, Options{}, "ClusterCTRL board (i2c-11): no such device"},
		{"silent", func(b *bench) { b.ctrl("11", newPlayedCtrl(5, 20, 3)).missed = true }, Options{},
			"ClusterCTRL board (i2c-11, address 0x20): read register 0x00: no acknowledgement"},
		{"no bus of the HAT", func(b *bench) { b.hat("0x0024") }, Options{}, "ClusterHAT v2.4: no such device"},
		{"HAT of a version that is none", func(b *bench) { b.hat("0x0040") }, Options{}, `ClusterHAT with product_ver "0x0040": want 0x0010 to 0x003f`},
		{"forced HAT without its bus", func(b *bench) {}, Options{Force: Version{2, 4}}, "ClusterHAT v2.4: no such device"},
		{"too many", func(b *bench) {
			for i, bus := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
				b.ctrl(bus, newPlayedCtrl(32, byte(i+1), 0))
			}
		}, Options{}, "the boards have room for 256 nodes: want at most 252"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			tt.put(b)
			boards, err := b.boards(tt.o)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || len(boards) > 0 {
				t.Errorf("got %v, %v; want %s", boards, err, tt.want)
			}
			for name, bus := range b.buses {
				if c := bus.(*playedCtrl); c.written() != "" || !c.closed {
					t.Errorf("%s was written to, or left open", name)
				}
			}
		})
	}
}

// TestNAKs: if a chip does not acknowledge one transaction, or the bus fails at it,
// whichever it is, the node is switched all the same. If that happens a few more times,
// the error says where.
func TestNAKs(t *testing.T) {
	for _, fault := range []error{ErrNAK, syscall.EIO} {
		for n := 1; ; n++ {
			b := newBench()
			played := b.ctrl("20", newPlayedCtrl(5, 20, 3))
			boards := must[Boards](t)(b.boards(Options{}))
			played.n = 0
			played.fail = func(i int) error {
				if i == n {
					return fault
				}
				return nil
			}
			if err := (Switch{Boards: boards}).Set(context.Background(), []node.ID{2}, true); err != nil || !played.power[2] {
				t.Errorf("%v at transaction %d: %v", fault, n, err)
			}
			if played.n < n {
				break // it took fewer
			}
			var step Step
			played.n, played.power[2] = 0, false
			played.fail = func(i int) error {
				if i >= n && i < n+10 {
					return fault
				}
				return nil
			}
			err := Switch{Boards: boards, Done: func(s Step) { step = s }}.Set(context.Background(), []node.ID{2}, true)
			if err == nil || step.Err == nil || !strings.HasPrefix(step.Err.Error(), "p2: ClusterCTRL A+6 of order 20 (i2c-20, address 0x20): ") || !errors.Is(step.Err, fault) {
				t.Errorf("%v from transaction %d on: %v, %v", fault, n, err, step.Err)
			}
		}
	}
	e := newBench()
	hat := e.expander("0x0024")
	hat.direction = 0
	boards := must[Boards](t)(e.boards(Options{}))
	hat.missed = true
	var step Step
	err := Switch{Boards: boards, Done: func(s Step) { step = s }}.Set(context.Background(), []node.ID{2}, true)
	if err == nil || step.Err == nil || step.Err.Error() != "p2: ClusterHAT v2.4 (i2c-1, address 0x20): read register 0x00: no acknowledgement" {
		t.Errorf("an expander that is not there: %v, %v", err, step.Err)
	}
}

// TestBusy: a board that is slow is waited for, one that hangs is given up.
func TestBusy(t *testing.T) {
	b := newBench()
	played := b.ctrl("20", newPlayedCtrl(5, 20, 3))
	played.looks = 3
	ctrl := must[Boards](t)(b.boards(Options{}))[0].(*Ctrl)
	if err := errors.Join(ctrl.SetPower(1, true), ctrl.SetPower(2, true)); err != nil || !played.power[1] || !played.power[2] {
		t.Errorf("a slow board: %v", err)
	}
	// Busy with what another program commanded.
	played.registers[0x0d], played.left = 0x07, 2
	if err := ctrl.SetPower(3, true); err != nil || !played.power[3] {
		t.Errorf("a board that is busy at first: %v", err)
	}
	played.looks, ctrl.patience = 1<<30, 50*time.Millisecond
	if err := ctrl.SetPower(4, true); !errors.Is(err, ErrBusy) || err.Error() != "command 0x03: the board is still busy after 50ms, with command 0x03" {
		t.Errorf("a board that hangs: %v", err)
	}
	if err := ctrl.SetPower(4, true); !errors.Is(err, ErrBusy) {
		t.Errorf("a board that hangs, again: %v", err)
	}
	writes := 0
	played.busy = func(byte) bool { writes++; return true }
	supplies := Boards{ctrl}.Supplies()
	for _, s := range supplies {
		if !errors.Is(s.Err, ErrBusy) {
			t.Errorf("%v of a board that hangs: %v", s.Node, s.Err)
		}
	}
	if len(supplies) != 5 || writes != 1 {
		t.Errorf("a board that hangs was asked %d times about %d nodes; want once, about 5", writes, len(supplies))
	}
}

func TestStatusInWords(t *testing.T) {
	b := newBench()
	played := b.ctrl("20", newPlayedCtrl(5, 20, 3))
	ctrl := must[Boards](t)(b.boards(Options{}))[0].(*Ctrl)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{ctrl.SetPower(6, true), "command 0x03: the board has no such node (status 2)"},
		{ctrl.SetOrder(0), "command 0x15: the firmware does not support it (status 1)"},
		{ctrl.do(0x08), "command 0x08: the firmware does not know the command (status 3)"},
		{(&FirmwareError{0x0e, 4}), "command 0x0e: the board should have reset itself (status 4)"},
		{(&FirmwareError{0x0e, 9}), "command 0x0e: an unknown status (status 9)"},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("got %v, want %s", tt.err, tt.want)
		}
	}
	played.read = func(r byte) byte { return map[byte]byte{0x0c: 7}[r] }
	if _, err := ctrl.Power(1); err == nil || err.Error() != "power status 0x07: want 0 or 1" {
		t.Error(err)
	}
}

// TestAtOnce: a hundred commands at once, each for another pin, lose nothing.
func TestAtOnce(t *testing.T) {
	b := newBench()
	e := b.expander("0x0024")
	e.direction, e.output = 0, 0
	boards := must[Boards](t)(b.boards(Options{}))
	var commands sync.WaitGroup
	for i := range 100 {
		commands.Go(func() {
			if err := boards[0].SetPower(i%4+1, i < 96); err != nil {
				t.Error(err)
			}
			if err := boards[0].SetPower(i%4+1, true); err != nil {
				t.Error(err)
			}
		})
	}
	commands.Wait()
	if e.output != 0x0f {
		t.Errorf("output register %#02x, want 0x0f", e.output)
	}
}

// TestSwitch: order is kept, nodes that are on are skipped, and one that fails does
// not keep the others from being switched.
func TestSwitch(t *testing.T) {
	b := newBench()
	e := b.expander("0x0024")
	e.direction, e.output = 0, 0x02
	played := b.ctrl("20", newPlayedCtrl(2, 20, 2))
	boards := must[Boards](t)(b.boards(Options{}))
	played.missed = true
	var steps []string
	started := time.Now()
	s := Switch{Boards: boards, Delay: 20 * time.Millisecond, Done: func(s Step) {
		steps = append(steps, s.Node.String()+map[bool]string{true: " already"}[s.Already]+map[bool]string{true: " failed"}[s.Err != nil])
	}}
	err := s.Set(context.Background(), []node.ID{3, 2, 5, 1}, true)
	if want := []string{"p3", "p2 already", "p5 failed", "p1"}; !slices.Equal(steps, want) || err == nil || err.Error() != "1 of 4 nodes were not switched on" {
		t.Errorf("steps %q, %v; want %q", steps, err, want)
	}
	if took := time.Since(started); took < s.Delay {
		t.Errorf("two nodes were switched on within %v, want %v", took, s.Delay)
	}
	if got := e.written(); got != "01=06 01=07" {
		t.Errorf("wrote %s", got)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.Done = func(Step) { stop() }
	if err := s.Set(ctx, []node.ID{1, 2, 3}, false); !errors.Is(err, context.Canceled) || e.output != 0x06 {
		t.Errorf("stopped between two nodes: %v, output %#02x", err, e.output)
	}
}

// TestDryRun: it shows what it would write, and writes nothing of it.
func TestDryRun(t *testing.T) {
	b := newBench()
	e := b.expander("0x0024")
	e.direction, e.output = 0, 0x80
	played := b.ctrl("20", newPlayedCtrl(2, 20, 2))
	var shown []string
	b.Show = func(board, what string) { shown = append(shown, board+": "+what) }
	boards := must[Boards](t)(b.boards(Options{}))
	if err := (Switch{Boards: boards, DryRun: true}).Set(context.Background(), []node.ID{2, 6}, true); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ClusterHAT v2.4 (i2c-1, address 0x20): register 0x01 = 0x82",
		"ClusterCTRL pHAT of order 20 (i2c-20, address 0x20): register 0x0c = 0x02",
		"ClusterCTRL pHAT of order 20 (i2c-20, address 0x20): register 0x0d = 0x03",
	}
	if !slices.Equal(shown, want) {
		t.Errorf("shown %q; want %q", shown, want)
	}
	if e.written() != "" || played.power[2] || slices.Contains(played.seen, "03(2,0)") {
		t.Error("something was switched")
	}
}
