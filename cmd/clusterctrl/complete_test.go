package main

import (
	"testing"

	"clusterctrl/internal/controller/cluster"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestNodeNames completes to the names of nodes that are plugged in, even where two nodes
// have the same number.
func TestNodeNames(t *testing.T) {
	plugged := []cluster.Node{{ID: 2}, {ID: 7}, {ID: 7}, {ID: 25}}
	for typed, want := range map[string][]string{
		"":     {"p2", "p7", "p25"},
		"p":    {"p2", "p7", "p25"},
		"p2":   {"p2", "p25"},
		"p25":  {"p25"},
		"p251": {"p251"}, // it is not there yet
		"x":    nil,
	} {
		if diff := cmp.Diff(want, nodeNames(typed, plugged), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: -want +got:\n%s", typed, diff)
		}
	}
	if got := nodeNames("", nil); len(got) != 252 {
		t.Errorf("%d names of any node, want 252", len(got))
	}
}
