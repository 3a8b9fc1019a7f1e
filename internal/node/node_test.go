package node

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestParseID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want ID // zero if in must be refused
	}{
		{"p1", 1},
		{"p252", 252},
		{"p0", 0},   // numbers start at one
		{"p253", 0}, // a node nobody has configured
		{"p007", 0}, // one node, one spelling
		{"p256", 0}, // does not wrap
		{"p257", 0},
		{"P7", 0},
		{"p7x", 0},
		{"p-1", 0},
		{"p+1", 0},
		{"p1_0", 0},
		{"7", 0},
		{"p", 0},
		{"", 0},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseID(tt.in)
			if got != tt.want || (err == nil) != (tt.want != 0) {
				t.Errorf("ParseID(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestParseNumber(t *testing.T) {
	for number := range 300 {
		id, err := ParseNumber(strconv.Itoa(number))
		if want := number >= 1 && number <= 253; (err == nil) != want || want && int(id) != number {
			t.Errorf("ParseNumber(%d) = %d, %v", number, id, err)
		}
	}
	for _, s := range []string{"", "p7", "07", "0253", " 253", "-1"} {
		if id, err := ParseNumber(s); err == nil {
			t.Errorf("ParseNumber(%q) = %d, want an error", s, id)
		}
	}
}

func TestRoleRoundTrip(t *testing.T) {
	roles := []Role{CBridge, CNAT}
	for id := MinID; id <= MaxID; id++ {
		roles = append(roles, id.Role())
	}
	seen := map[string]bool{}
	for _, want := range roles {
		if got, err := ParseRole(want.String()); got != want {
			t.Errorf("ParseRole(%q) = %v, %v", want, got, err)
		}
		if seen[want.String()] {
			t.Errorf("two roles are written %q", want)
		}
		seen[want.String()] = true
	}
}

func TestParseRoleNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[cp][0-9a-z+_-]{0,4}`)).Draw(t, "role")
		if r, err := ParseRole(s); err == nil && r.String() != s && s != "c" {
			t.Fatalf("%q was taken for %v", s, r)
		}
	})
}

// TestFacts holds the values that controllers and nodes built by others use.
func TestFacts(t *testing.T) {
	for _, tt := range []struct{ name, got, want string }{
		{"address", ID(7).Addr().String(), "172.19.181.7"},
		{"NFS address", ID(252).NFSAddr().String(), "172.19.180.252"},
		{"controller's MAC", ID(16).HostMAC(), "00:22:82:ff:fe:10"},
		{"node's MAC", ID(252).DevMAC(), "00:22:82:ff:ff:fc"},
		{"link", ID(9).Link(), "ethpi9"},
		{"USB boot link", ID(9).USBBootLink(), "ethupi9"},
		{"port", ID(9).Port(), "ttypi9"},
		{"NFS root", ID(9).NFSRoot(), "/var/lib/clusterctrl/nfs/p9"},
		{"type of a node", ID(9).Role().Type(), "node"},
		{"type of cbridge", CBridge.Type(), "c"},
		{"type of cnat", CNAT.Type(), "cnat"},
		{"kernel words", ID(9).Role().ReconfigArg(), "init=/usr/sbin/reconfig-clusterctrl p9"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestIsReconfig(t *testing.T) {
	for word, want := range map[string]bool{
		"init=/usr/sbin/reconfig-clusterctrl":  true,
		"init=/sbin/reconfig-clusterctrl":      true,
		"init=/usr/sbin/reconfig-clusterctrl2": false,
		"init=/bin/reconfig-clusterctrl":       false,
		"xinit=/sbin/reconfig-clusterctrl":     false,
		"/sbin/reconfig-clusterctrl":           false,
	} {
		if got := IsReconfig(word); got != want {
			t.Errorf("IsReconfig(%q) = %t, want %t", word, got, want)
		}
	}
}
