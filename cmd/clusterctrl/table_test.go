package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/controller/cluster"
)

// TestNarrowTables: on 80 columns no line wraps, and what a user needs most stays. Without
// a width, or with --wide, all is there.
func TestNarrowTables(t *testing.T) {
	n := cluster.Node{ID: 252, Power: cluster.Silent, USBPath: "1-1.2.4.3", Boot: "card", Interface: "ethpi252", Bridge: "br0",
		LinkState: "up", MAC: "00:22:82:ff:ff:fc", Serial: "/dev/ttypi252", Since: time.Unix(0, 0),
		Addresses: []netip.Addr{netip.MustParseAddr("172.19.181.252")}}
	for _, tt := range []struct {
		width, most int
		holds       string
	}{
		{80, 80, "172.19.181.252"},
		{40, 40, "p252"},
		{15, 15, "silent"},
		{0, 200, "00:22:82:ff:ff:fc"},
	} {
		var b bytes.Buffer
		if err := writeTable(&b, []cluster.Node{n}, tt.width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if got := len(strings.TrimRight(line, "\n")); got > tt.most {
				t.Errorf("width %d: a line of %d: %s", tt.width, got, line)
			}
		}
		if !strings.Contains(b.String(), tt.holds) {
			t.Errorf("width %d: no %s in\n%s", tt.width, tt.holds, &b)
		}
	}
}
