package power_test

import (
	"os"
	"testing"

	"clusterctrl/internal/lab/board"
)

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
