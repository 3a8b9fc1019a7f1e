package power_test

import (
	"context"
	"errors"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/node"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine has the program switch played boards through the kernel's own
// drivers: see [inMachine].
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{
		Modules: []string{"vhci-hcd", "i2c-tiny-usb", "i2c-dev"},
		Files:   map[string]string{node.Program[1:]: labtest.Program(t, labtest.AMD64, "../../../cmd/clusterctrl")},
	})
}

// TestZero switches the lines of a ClusterHAT v1 on an emulated Pi Zero: see [onZero].
func TestZero(t *testing.T) {
	vm.BootZero(t, labtest.Initramfs{Modules: []string{"pinctrl-bcm2835"}})
}

// onZero drives lines, which keep their levels though no program holds them, and
// leaves others alone.
func onZero(t *testing.T) {
	if err := os.MkdirAll(filepath.Dir(node.SettingsFile), 0o755); err != nil {
		t.Fatal(err)
	}
	open := func() power.Board {
		boards, err := power.ThisMachine().Boards(power.Options{Force: power.Version{Major: 1, Minor: 3}, Size: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { boards.Close() })
		return boards[0]
	}
	makeInput(t, 6)
	if first, err := open().Start(); !first || err != nil {
		t.Fatalf("the first run: %t, %v", first, err)
	}
	if first, err := open().Start(); first || err != nil {
		t.Errorf("the second run: %t, %v", first, err)
	}
	for x := range 4 {
		if err := open().SetPower(x+1, x != 2); err != nil {
			t.Error(err)
		}
	}
	if err := open().SetPower(1, false); err != nil {
		t.Error(err)
	}
	for x, want := range []bool{false, true, false, true} {
		if on, err := open().Power(x + 1); on != want || err != nil {
			t.Errorf("node %d is on: %t, %v; want %t", x+1, on, err, want)
		}
	}
	if r, err := open().Report(); err != nil || !r.Ready || *r.Alert {
		t.Errorf("%+v, %v", r, err)
	}
}

// makeInput makes a line an input, as all are when a Pi has got power. QEMU's Zero
// starts with GPIO 6 as an output.
func makeInput(t *testing.T, line uint32) {
	t.Helper()
	chip, err := os.Open("/dev/gpiochip0")
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	const isInput = 1 << 2 // GPIO_V2_LINE_FLAG_INPUT of linux/gpio.h
	r := unix.GPIOV2LineRequest{Num_lines: 1, Config: unix.GPIOV2LineConfig{Flags: isInput}}
	r.Offsets[0] = line
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, chip.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		t.Fatal(errno)
	}
	unix.Close(int(r.Fd))
}

func inMachine(t *testing.T) {
	if runtime.GOARCH == "arm" {
		onZero(t)
		return
	}
	// A ClusterHAT is on the bus of the number 1: another takes 0.
	filler := plugIn(t, (&board.HAT{Version: 0x24, Name: "filler"}).Device())
	if filler.Number != 0 {
		t.Fatalf("the first bus is %d", filler.Number)
	}
	for _, dir := range []string{filepath.Dir(node.SettingsFile), node.RPIBootDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"first runs", firstRuns}, {"verbs", verbs}, {"at once", atOnce}, {"every transaction", everyTransaction},
		{"pulled", pulled}, {"two of one order", twoOfOneOrder}, {"slow and hung", slowAndHung}, {"nonsense", nonsense},
		{"restart", restart}, {"watched", watched}, {"interrupted", interrupted}, {"noted", noted},
	} {
		t.Run(part.name, part.do)
	}
}

var ports = make([]bool, 8) // that are taken

// plugIn plugs a board in until the test ends.
func plugIn(t *testing.T, b *board.Bus) board.Plug {
	t.Helper()
	port := slices.Index(ports, false)
	ports[port] = true
	plug, err := board.PlugIn(context.Background(), usbip.Port(port), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plug.Remove(context.Background()); err != nil {
			t.Error(err)
		}
		ports[port] = false
	})
	return plug
}

// settle writes the settings file of a bridging controller.
func settle(t *testing.T, more string) {
	t.Helper()
	if err := os.WriteFile(node.SettingsFile, []byte("TYPE=c\nCLUSTERCTRL_DELAY=0\n"+more), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs the program, and returns what it prints and its exit status.
func run(words string) (stdout, stderr string, status int) {
	var out, err strings.Builder
	cmd := exec.Command(node.Program, strings.Fields(words)...)
	cmd.Stdout, cmd.Stderr = &out, &err
	failed := cmd.Run()
	var exit *exec.ExitError
	if failed != nil && !errors.As(failed, &exit) {
		return "", failed.Error(), -1
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// want runs the program and wants it to end well, having written this to boards.
func want(t *testing.T, j *board.Journal, words, writes string) string {
	t.Helper()
	stdout, stderr, status := run(words)
	if got := text(j); got != writes || status != 0 || stderr != "" {
		t.Errorf("clusterctrl %s: status %d, %q; wrote\n%s\nwant\n%s", words, status, stderr, got, writes)
	}
	return stdout
}

// wantError runs the program and wants it to fail with these lines.
func wantError(t *testing.T, words string, lines ...string) {
	t.Helper()
	stdout, stderr, status := run(words)
	if got := strings.Join(lines, "\n") + "\n"; stderr != got || status != 1 {
		t.Errorf("clusterctrl %s: status %d, %q\n%s\nwant\n%s", words, status, stdout, stderr, got)
	}
}

// text is what was written to boards, but for the questions that are asked of a
// ClusterCTRL board.
func text(j *board.Journal) string {
	var all []string
	for _, w := range j.Take() {
		all = append(all, w.String())
	}
	return strings.Join(all, ", ")
}

// firstRuns: what init writes to a ClusterHAT by its version and links, once.
func firstRuns(t *testing.T) {
	for _, tt := range []struct {
		hat            *board.HAT
		force, writes  string
		nodes, hubHigh bool
	}{
		{&board.HAT{Version: 0x20, PullUps: true}, "2.0", "hat 04=7f, hat 04=ff, hat 01=b0, hat 03=00", false, true},
		{&board.HAT{Version: 0x24, PullUps: true, PowerLinkCut: true}, "2.4", "hat 04=7f, hat 04=ff, hat 01=9f, hat 03=00", true, false},
		{&board.HAT{Version: 0x26, PullUps: true, WPLink: true}, "2.6", "hat 04=7f, hat 01=90, hat 03=00", false, false},
		{&board.HAT{Version: 0x23}, "2.3", "hat 01=90, hat 03=00", false, false},
		{&board.HAT{Version: 0x31, PullUps: true}, "3.1", "hat 04=7f, hat 04=ff, hat 01=80, hat 03=00", false, false},
	} {
		t.Run(tt.force, func(t *testing.T) {
			hat := tt.hat
			hat.Name, hat.Journal = "hat", &board.Journal{}
			plugIn(t, hat.Device())
			settle(t, "CLUSTERHAT_FORCE="+tt.force+"\n")
			want(t, hat.Journal, "status", "")
			wantError(t, "led on", map[bool]string{
				true:  "clusterctrl: ClusterHAT v3.1 (i2c-1, address 0x20): no LEDs that can be switched: unsupported operation",
				false: "clusterctrl: ClusterHAT v" + tt.force + " (i2c-1, address 0x20): it was not made ready since it got power: run sudo clusterctrl init",
			}[tt.force == "3.1"])
			want(t, hat.Journal, "init", tt.writes)
			want(t, hat.Journal, "init", "")
			if s := hat.State(); s.Power[1] != tt.nodes || s.Power[4] != tt.nodes || !s.Hub || hat.Pin(5) != tt.hubHigh || hat.Pin(6) {
				t.Errorf("after init: %+v, hub's pin %t, alert's %t", s, hat.Pin(5), hat.Pin(6))
			}
		})
	}
}

// desk is a ClusterHAT and two ClusterCTRL boards: nodes 1 to 4, 5 to 7, and 8 and 9.
type desk struct {
	hat          *board.HAT
	triple, phat *board.Firmware
	journal      *board.Journal
	tripleBus    *board.Bus
	triplePlug   board.Plug
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	j := &board.Journal{}
	d := &desk{
		hat: &board.HAT{Version: 0x24, Name: "hat", Journal: j, PullUps: true},
		triple: &board.Firmware{Kind: board.Triple, Name: "triple", Journal: j,
			ADC: []board.Reading{{Kind: 1, Raw: 780}, {Kind: 2, Raw: 156}}, Temperature: 284},
		phat:    &board.Firmware{Kind: board.PHAT, Name: "phat", Journal: j},
		journal: j,
	}
	early := board.Delivered()
	early.Order = 30
	d.phat.Save(early)
	plugIn(t, d.hat.Device())
	plugIn(t, d.phat.Device()) // its bus comes first, its order does not
	d.tripleBus = d.triple.Device()
	d.triplePlug = plugIn(t, d.tripleBus)
	settle(t, "CLUSTERHAT_FORCE=2.4\n")
	if _, stderr, status := run("init"); status != 0 {
		t.Fatalf("init: status %d, %s", status, stderr)
	}
	j.Take()
	return d
}

// verbs: the writes of each verb, in order, by hand from the registers of the
// boards. A board is asked whether a node is on (command 0f) before it is switched.
func verbs(t *testing.T) {
	d := newDesk(t)
	for _, tt := range []struct{ words, writes string }{
		{"on p1", "hat 01=91"},
		{"on p1", ""},
		{"on p4 p2", "hat 01=99, hat 01=9b"},
		{"off p1,p4", "hat 01=9a, hat 01=92"},
		{"on p5 p9", "triple 0c=01, triple 0d=0f, triple 0c=01, triple 0d=03, phat 0c=02, phat 0d=0f, phat 0c=02, phat 0d=03"},
		{"off p5", "triple 0c=01, triple 0d=0f, triple 0c=01, triple 0d=04"},
		{"cycle p2", "hat 01=90, hat 01=92"},
		{"alert on p1", "hat 01=d2"},
		{"alert off p1", "hat 01=92"},
		{"alert on p6", "triple 0c=02, triple 0d=05"},
		{"alert off p6", "triple 0c=02, triple 0d=06"},
		{"identify p6 --for 10ms", "triple 0c=02, triple 0d=05, triple 0c=02, triple 0d=06"},
		{"led off", "hat 01=82, triple 0d=0b, phat 0d=0b"},
		{"led on", "hat 01=92, triple 0d=0a, phat 0d=0a"},
		{"hub reset", "hat 01=b2, hat 01=92, triple 0c=64, triple 0d=07, phat 0c=64, phat 0d=07"},
		{"usbboot on p6", "triple 0c=02, triple 0d=12"},
		{"usbboot off p6", "triple 0c=02, triple 0d=13"},
		{"act off 20", "triple 0d=17"},
		{"act on 30", "phat 0d=16"},
		{"fan on 20", "triple 0c=01, triple 0d=10"},
		{"setorder 30 40", "phat 0c=28, phat 0d=15"},
		{"saveorder 40", "phat 0d=f3"},
		{"save 20", "triple 0d=f0"},
		{"saveusbboot 20", "triple 0d=f4"},
		{"savepos 40", "phat 0d=f5"},
		{"savedefaults 40", "phat 0d=f1"},
		{"off all", "hat 01=90, triple 0c=01, triple 0d=0f, triple 0c=02, triple 0d=0f, triple 0c=03, triple 0d=0f, " +
			"phat 0c=01, phat 0d=0f, phat 0c=02, phat 0d=0f, phat 0c=02, phat 0d=04"},
		{"on p3 --dry-run", ""},
		{"on p3", "hat 01=94"},
	} {
		want(t, d.journal, tt.words, tt.writes)
	}
	if got := want(t, d.journal, "on p4 p7 --dry-run", "triple 0c=03, triple 0d=0f"); got !=
		"ClusterHAT v2.4 (i2c-1, address 0x20): register 0x01 = 0x9c\n"+
			"ClusterCTRL Triple of order 20 (i2c-3, address 0x20): register 0x0c = 0x03\n"+
			"ClusterCTRL Triple of order 20 (i2c-3, address 0x20): register 0x0d = 0x03\n" {
		t.Errorf("dry run: %s", got)
	}
	// What a board lacks is said, and the others do it.
	if _, stderr, status := run("wp off"); status != 0 || text(d.journal) != "hat 01=14" ||
		strings.Count(stderr, "no EEPROM protection that can be switched") != 2 {
		t.Errorf("wp off: status %d, %s", status, stderr)
	}
	wantError(t, "usbboot on p8", "clusterctrl: p8: command 0x12: the firmware does not support it (status 1)")
	wantError(t, "on p10", "clusterctrl: p10: no board has it: want p1 to p9")
	wantError(t, "act on 21", "clusterctrl: order 21: no board has it: want 20 or 40")
	wantError(t, "setorder 20 40", "clusterctrl: order 40 is taken: ClusterCTRL pHAT of order 40 (i2c-2, address 0x20) has it")
	d.journal.Take()
	stdout, stderr, status := run("status")
	if status != 0 || stderr != "" || stdout != statusKeys {
		t.Errorf("status: %d, %s\n%s\nwant\n%s", status, stderr, stdout, statusKeys)
	}
	for _, w := range d.journal.Take() {
		switches := w.Register == 0x0d && w.Value != 0x0f && w.Value != 0x14 && w.Value != 0xf2
		if w.Board == "hat" || switches {
			t.Errorf("status wrote %v", w)
		}
	}
	if stdout := want(t, d.journal, "maxpi", ""); stdout != "9\n" {
		t.Errorf("maxpi: %s", stdout)
	}
	if last, err := os.ReadFile("/var/lib/clusterctrl/power/last"); string(last) != "p1:0\np2:0\np3:1\np4:0\np5:0\np6:0\np7:0\np8:0\np9:0\n" {
		t.Errorf("commanded last: %q, %v", last, err)
	}
}

const statusKeys = `maxpi:9
hat_version:2.4
hat_version_major:2
hat_version_minor:4
hat_size:4
hat_alert:0
hat_hub:1
hat_led:1
hat_wp:0
hat_wplink:0
ctrl20_fw:1.8
ctrl20_adc1:5027mV
ctrl20_adc2:5201mV
ctrl20_temp:30.33C
ctrl20_fan:1
ctrl40_fw:1.8
ctrl40_temp:-202.46C
ctrl40_fan:0
p1:0
p2:0
p3:1
p4:0
p5:0
p6:0
p7:0
p8:0
p9:0
u1:0
u2:0
u3:0
u4:0
u5:0
u6:0
u7:0
u8:0
u9:0
`

// atOnce: of a hundred commands at once none loses what another did. Each changes
// one pin of the expander, so each write differs from the one before in one bit.
func atOnce(t *testing.T) {
	d := newDesk(t)
	verbs := []string{"on p1", "off p1", "on p2", "off p2", "on p3", "off p3", "alert on p1", "alert off p1", "led off", "led on"}
	var commands sync.WaitGroup
	for i := range 99 {
		commands.Go(func() {
			words := verbs[i%len(verbs)]
			if _, stderr, status := run(words); status != 0 {
				t.Errorf("%s: status %d, %s", words, status, stderr)
			}
		})
	}
	commands.Go(func() { run("on p4") })
	commands.Wait()
	levels, n := byte(0x90), 0
	for _, w := range d.journal.Take() {
		if w.Board != "hat" {
			continue
		}
		n++
		if bits.OnesCount8(levels^w.Value) > 1 {
			t.Errorf("write %d: %#02x after %#02x: an update was lost", n, w.Value, levels)
		}
		levels = w.Value
	}
	if !d.hat.State().Power[4] || n < 20 {
		t.Errorf("p4 is off after %d writes", n)
	}
}

// everyTransaction: if a board does not acknowledge one message, whichever it is, the
// node is switched all the same. If it acknowledges none from then on, the error says
// where.
func everyTransaction(t *testing.T) {
	d := newDesk(t)
	heard, first := 0, 0
	at, length := 0, 1
	d.tripleBus.Answer = func(m board.Message) bool {
		heard++
		return heard-first < at || heard-first >= at+length
	}
	for at = 1; ; at++ {
		first, length = heard, 1
		if _, stderr, status := run("on p5"); status != 0 || !d.triple.State().Power[1] {
			t.Errorf("message %d was not acknowledged: status %d, %s", at, status, stderr)
		}
		last := heard-first < at
		length = 0
		run("off p5")
		if last || at > 200 {
			break
		}
	}
	if at < 20 || at > 200 {
		t.Errorf("a command has %d messages", at)
	}
	d.tripleBus.Answer = func(board.Message) bool { return false }
	wantError(t, "on p1 p5", "clusterctrl: ClusterCTRL board (i2c-3, address 0x20): read register 0x00: no acknowledgement")
	if d.hat.State().Power[1] {
		t.Error("p1 was switched though boards could not be numbered")
	}
	heard = 0
	d.tripleBus.Answer = func(board.Message) bool { heard++; return heard <= 10 } // what the board is, and no more
	wantError(t, "on p1 p5 p8",
		"clusterctrl: p5: ClusterCTRL Triple of order 20 (i2c-3, address 0x20): read register 0x0d: no acknowledgement", // to see whether it is busy
		"clusterctrl: 1 of 3 nodes were not switched on")
	if !d.hat.State().Power[1] || !d.phat.State().Power[1] || d.triple.State().Power[1] {
		t.Error("p1 and p8 were not switched, or p5 was")
	}
}

// pulled: a board goes in the middle of a command.
func pulled(t *testing.T) {
	d := newDesk(t)
	heard := 0
	d.tripleBus.Answer = func(board.Message) bool {
		if heard++; heard > 12 {
			d.triplePlug.Pull()
		}
		return heard <= 12
	}
	_, stderr, status := run("on p1 p5 p8")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if status != 1 || len(lines) != 2 || !strings.HasPrefix(lines[0], "clusterctrl: p5: ClusterCTRL Triple of order 20 (i2c-3, address 0x20): ") ||
		lines[1] != "clusterctrl: 1 of 3 nodes were not switched on" {
		t.Errorf("status %d, %s", status, stderr)
	}
	if !d.hat.State().Power[1] || !d.phat.State().Power[1] {
		t.Error("p1 and p8 were not switched")
	}
}

func twoOfOneOrder(t *testing.T) {
	d := newDesk(t)
	plugIn(t, (&board.Firmware{Kind: board.APlus6, Name: "third", Journal: d.journal}).Device())
	wantError(t, "on p1 p5", "clusterctrl: two boards of order 20, on i2c-3 and i2c-4: unplug one, give the other another place (clusterctrl setorder 20 21, clusterctrl saveorder 21), and plug it in again")
	if got := text(d.journal); got != "" {
		t.Errorf("wrote %s", got)
	}
}

// slowAndHung: a board that takes its time is waited for, and refuses nothing then;
// one that never gets done is given up.
func slowAndHung(t *testing.T) {
	d := newDesk(t)
	settle(t, "")
	slow := &board.Firmware{Kind: board.Stack, Name: "slow", Journal: d.journal, Busy: 5}
	hung := &board.Firmware{Kind: board.APlus6, Name: "hung", Journal: d.journal, Busy: -1}
	for i, f := range []*board.Firmware{slow, hung} {
		s := board.Delivered()
		s.Order = byte(50 + i)
		f.Save(s)
		plugIn(t, f.Device())
	}
	want(t, d.journal, "on p6", "slow 0c=01, slow 0d=0f, slow 0c=01, slow 0d=03")
	if !slow.State().Power[1] {
		t.Error("p6 is off")
	}
	wantError(t, "on p11",
		"clusterctrl: p11: ClusterCTRL A+6 of order 51 (i2c-5, address 0x20): command 0x0f: the board is still busy after 10s, with command 0x0f",
		"clusterctrl: 1 of 1 nodes were not switched on")
}

func nonsense(t *testing.T) {
	j := &board.Journal{}
	plugIn(t, (&board.HAT{Version: 0x24}).Device())
	plugIn(t, (&board.Firmware{Kind: board.Triple, Journal: j, Nonsense: map[byte]byte{0x01: 0xff}}).Device())
	settle(t, "")
	wantError(t, "on p1", "clusterctrl: ClusterCTRL board (i2c-2, address 0x20): its first registers are 01 ff 14 00 01: want a version, 1 to 32 nodes, an order, a mode, and a type from 0 to 4")
	if got := text(j); got != "" {
		t.Errorf("wrote %s", got)
	}
}

// restart: what init switches on, by POWER_ON, when the controller starts. A HAT
// that ran before keeps its nodes as they are.
func restart(t *testing.T) {
	if err := os.RemoveAll("/var/lib/clusterctrl/power"); err != nil { // of the tests before
		t.Fatal(err)
	}
	d := newDesk(t)
	run("on p2 p5 p8")
	d.hat.PowerOff()
	d.triple.PowerOff()
	d.journal.Take()
	settle(t, "CLUSTERHAT_FORCE=2.4\nLINK=0\nPOWER_ON=last\n")
	want(t, d.journal, "init", "hat 04=7f, hat 04=ff, hat 01=90, hat 03=00, hat 01=92, "+
		"triple 0c=01, triple 0d=0f, triple 0c=01, triple 0d=03, phat 0c=01, phat 0d=0f")
	settle(t, "CLUSTERHAT_FORCE=2.4\nLINK=0\nPOWER_ON=p1 p6\n")
	want(t, d.journal, "init", "triple 0c=02, triple 0d=0f, triple 0c=02, triple 0d=03")
	if s := d.hat.State(); s.Power[1] || !s.Power[2] {
		t.Errorf("init changed a HAT that ran before: %+v", s)
	}
}
