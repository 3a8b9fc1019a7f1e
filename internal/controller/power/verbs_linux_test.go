package power_test

import (
	"math/bits"
	"os"
	"strings"
	"sync"
	"testing"
)

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
