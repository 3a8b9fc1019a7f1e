package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/controller/cluster"
	"github.com/google/go-cmp/cmp"
)

// TestTable: columns are aligned, missing values are marked as missing, and two nodes
// with the same number are told apart.
func TestTable(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	nodes := []cluster.Node{
		{ID: 7, USBPath: "1-1.2", Boot: cluster.FromCard, Interface: "ethpi7", MAC: "00:22:82:ff:fe:07", Bridge: "br0", LinkState: cluster.LinkUp,
			Addresses: []netip.Addr{netip.MustParseAddr("172.19.181.7"), netip.MustParseAddr("192.168.1.20")}, Serial: "/dev/ttypi7", Since: since, Power: cluster.On, Board: "ClusterHAT v2.4 (i2c-1, address 0x20)"},
		{ID: 7, USBPath: "1-1.4.1", Boot: cluster.FromCard, LinkState: cluster.NoLink, OtherHolds: true},
	}
	var out strings.Builder
	complain(&out, nodes)
	if err := writeTable(&out, nodes, 0); err != nil {
		t.Fatal(err)
	}
	want := `warning: p7 is there twice: the one at USB path 1-1.2 has the name, the one at 1-1.4.1 has not: give one of them another number
NODE  POWER  USB      BOOT  INTERFACE  BRIDGE  LINK     MAC                ADDRESS                    SERIAL       SINCE
p7    on     1-1.2    SD    ethpi7     br0     up       00:22:82:ff:fe:07  172.19.181.7,192.168.1.20  /dev/ttypi7  2026-01-02 03:04:05
p7    -      1-1.4.1  SD    -          -       missing  -                  -                          -            -
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for want, e := range map[string]cluster.Event{
		"2026-01-02 03:04:05  plugged    p7    1-1.2  SD  ethpi7  172.19.181.7,192.168.1.20  /dev/ttypi7": {Time: since, Kind: cluster.Plugged, Node: nodes[0]},
		"2026-01-02 03:04:05  plugged    p7    1-1.4.1  SD  -  -  -  (another p7 has the name)":           {Time: since, Kind: cluster.Plugged, Node: nodes[1]},
		"2026-01-02 03:04:05  on         p7    ClusterHAT v2.4 (i2c-1, address 0x20)":                     {Time: since, Kind: cluster.SwitchedOn, Node: nodes[0]},
		"2026-01-02 03:04:05  unplugged  p7    1-1.4.1":                                                   {Time: since, Kind: cluster.Unplugged, Node: nodes[1]},
	} {
		if diff := cmp.Diff(want, eventLine(e)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
