package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/power"
	"github.com/google/go-cmp/cmp"
)

// TestStatusTables: the tables of a board, and of a HAT with three nodes: one runs, one
// is silent, one is off.
func TestStatusTables(t *testing.T) {
	const hat, triple = "ClusterHAT v2.4 (i2c-1, address 0x20)", "ClusterCTRL Triple of order 20 (i2c-11, address 0x20)"
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	on, degrees := true, 30.327
	s := status{
		Nodes: cluster.WithPower(nil, []cluster.Supply{{Node: 1, Board: hat, On: true}, {Node: 2, Board: hat}, {Node: 5, Board: triple, Err: power.ErrBusy}}),
		Boards: []power.Report{
			{Board: hat, Kind: power.KindHAT, Nodes: 4, Version: "2.4"},
			{Board: triple, Kind: power.KindCtrl, Nodes: 3, Order: 20, Firmware: "1.8", Millivolts: []float64{5027, 4980}, Temperature: &degrees, Fan: &on},
		},
		Throttled: "0x50005",
	}
	s.Nodes[0].Serial, s.Nodes[0].Since = "/dev/ttypi1", since
	s.Nodes[0].Addresses = []netip.Addr{netip.MustParseAddr("172.19.181.1")}
	var out strings.Builder
	if err := s.writeTables(&out, 0); err != nil {
		t.Fatal(err)
	}
	want := `NODE  BOARD                           POWER    LINK  CONSOLE      ADDRESS       SINCE
p1    ClusterHAT v2.4                 silent   -     /dev/ttypi1  172.19.181.1  2026-01-02 03:04:05
p2    ClusterHAT v2.4                 off      -     -            -             -
p5    ClusterCTRL Triple of order 20  unknown  -     -            -             -

BOARD                                                  NODES  VERSION  VOLTAGE         TEMPERATURE  FAN
ClusterHAT v2.4 (i2c-1, address 0x20)                  4      2.4      -               -            -
ClusterCTRL Triple of order 20 (i2c-11, address 0x20)  3      1.8      5.03 V, 4.98 V  30.3 C       on

throttled: 0x50005
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
