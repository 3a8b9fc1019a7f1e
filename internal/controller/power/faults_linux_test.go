package power_test

import (
	"strings"
	"testing"

	"clusterctrl/internal/lab/board"
)

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
