package cluster

import (
	"cmp"
	"slices"

	"clusterctrl/internal/node"
)

// A Supply is what a board says about one of its nodes.
type Supply struct {
	Node  node.ID
	Board string
	On    bool
	Err   error // why the board did not answer
}

// Power is whether a node has power. It is empty for a node that no board switches.
type Power string

const (
	On      Power = "on"
	Off     Power = "off"
	Silent  Power = "silent"  // on, and not plugged in: it starts, or is stuck, or has no card
	Unknown Power = "unknown" // its board did not answer
)

// WithPower joins the nodes that are plugged in with what boards say about nodes. It
// returns each node that is plugged in or that a board switches, by number.
func WithPower(plugged []Node, supplies []Supply) []Node {
	all := slices.Clone(plugged)
	for _, s := range supplies {
		there := false
		for i := range all {
			if all[i].ID == s.Node {
				all[i].Board, all[i].Power, there = s.Board, s.power(true), true
			}
		}
		if !there {
			all = append(all, Node{ID: s.Node, LinkState: NoLink, Board: s.Board, Power: s.power(false)})
		}
	}
	slices.SortStableFunc(all, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (s Supply) power(plugged bool) Power {
	switch {
	case s.Err != nil:
		return Unknown
	case !s.On:
		return Off
	case !plugged:
		return Silent
	}
	return On
}

// compare returns which nodes were switched since the last look at supplies.
func (f *follower) compare(now []Supply) (switched []Supply) {
	for _, s := range now {
		if s.Err != nil {
			continue
		}
		if was, known := f.on[s.Node]; known && was != s.On {
			switched = append(switched, s)
		}
		f.on[s.Node] = s.On
	}
	return switched
}
