package board

import (
	"fmt"
	"strings"
	"testing"
)

// TestHAT goes through the first run of a controller after power-up, and what comes
// then, with each version's hub.
func TestHAT(t *testing.T) {
	for _, tt := range []struct {
		version byte
		hub     string // what is written for the hub on, and LED on, alert off
	}{{0x20, "30"}, {0x21, "10"}, {0x24, "10"}, {0x30, "00"}, {0x31, "00"}} {
		var switched []string
		h := &HAT{Version: tt.version, Name: "hat", PullUps: true,
			Switched: func(x int, on bool) { switched = append(switched, fmt.Sprint("p", x, on)) },
			Hub:      func(on bool) { switched = append(switched, fmt.Sprint("hub", on)) }}
		host{t, h.Device()}.do(`
			r 03 ff
			r 00 f0
			w 01 ` + tt.hub + `
			w 03 00
			r 03 00
			r 01 ` + tt.hub + `
			r 00 ` + tt.hub + `
			w 01 ` + tt.hub[:1] + `5
			w 01 ` + tt.hub[:1] + `4`)
		want := "hubfalse hubtrue p1 true p3 true p1 false"
		if tt.version == 0x20 { // its hub is on while the pin is pulled up
			want = "hubtrue p1 true p3 true p1 false"
		}
		if got := strings.Join(switched, " "); got != want {
			t.Errorf("version %x: switched %s, want %s", tt.version, got, want)
		}
		if got, want := h.State(), (HATState{[5]bool{3: true}, true}); got != want {
			t.Errorf("version %x: %+v, want %+v", tt.version, got, want)
		}
		h.PowerOff()
		if got := h.State(); got.Power != [5]bool{} {
			t.Errorf("version %x: after power-up %+v, want all off", tt.version, got)
		}
	}
}

// TestLinks has links cut and soldered, which the expander's pins show.
func TestLinks(t *testing.T) {
	for _, tt := range []struct {
		hat    *HAT
		script string
	}{
		{&HAT{PullUps: true}, "r 00 f0 \n w 04 7f \n r 04 7f \n r 00 70"},
		{&HAT{PullUps: true, WPLink: true}, "r 00 f0 \n w 04 7f \n r 04 7f \n r 00 f0"},
		{&HAT{PullUps: true, PowerLinkCut: true}, "r 00 ff \n w 03 f0 \n w 01 00 \n r 00 f0"},
		{&HAT{}, "r 04 refused \n w 04 7f refused \n r 00 f0"},
		{&HAT{PowerLinkCut: true}, "r 00 ff"},
		{&HAT{}, "w 02 ff \n r 00 0f \n w 00 00 \n r 00 0f"},
	} {
		host{t, tt.hat.Device()}.do(tt.script)
	}
}
