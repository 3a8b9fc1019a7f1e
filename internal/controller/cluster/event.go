package cluster

import (
	"cmp"
	"slices"
	"time"

	"clusterctrl/internal/node"
)

// An Event is a node that was plugged in, unplugged or switched.
type Event struct {
	Time time.Time `json:"time"`
	Kind EventKind `json:"event"`
	Node Node      `json:"node"` // if it was unplugged: as it was before
}

// EventKind is what happened.
type EventKind string

const (
	Plugged   EventKind = "plugged"
	Unplugged EventKind = "unplugged"

	SwitchedOn  EventKind = "on"
	SwitchedOff EventKind = "off"
)

// patience is how long a follower waits for a new node to get all its names before it
// tells of the node. It does not wait where another node has these names.
const patience = 3 * time.Second

// A follower tells of nodes that are plugged in, once they have their names, and of
// nodes that are unplugged.
type follower struct {
	told    map[string]Node      // by device
	pending map[string]time.Time // new devices, by which time each is told of at the latest
	on      map[node.ID]bool     // whether the node has power, of nodes that boards switch
}

func newFollower(nodes []Node) *follower {
	f := &follower{map[string]Node{}, map[string]time.Time{}, map[node.ID]bool{}}
	for _, n := range nodes {
		f.told[n.device] = n
	}
	return f
}

// look compares the nodes that are plugged in with those that were told of. next is when
// to look again even if nothing happens; it is zero if there is no need.
func (f *follower) look(now time.Time, nodes []Node) (events []Event, next time.Time) {
	present := func(device string) bool {
		return slices.ContainsFunc(nodes, func(n Node) bool { return n.device == device })
	}
	for device, n := range f.told {
		if !present(device) {
			delete(f.told, device)
			events = append(events, Event{now, Unplugged, n})
		}
	}
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Node.ID, b.Node.ID), cmp.Compare(a.Node.device, b.Node.device))
	})
	for device := range f.pending {
		if !present(device) {
			delete(f.pending, device)
		}
	}
	for _, n := range nodes {
		_, told := f.told[n.device]
		until, waits := f.pending[n.device]
		switch {
		case told:
			f.told[n.device] = n
		case n.complete() || n.OtherHolds && n.Interface != "" || waits && !now.Before(until):
			delete(f.pending, n.device)
			f.told[n.device] = n
			events = append(events, Event{now, Plugged, n})
		case !waits:
			f.pending[n.device] = now.Add(patience)
		}
	}
	for _, until := range f.pending {
		if next.IsZero() || until.Before(next) {
			next = until
		}
	}
	return events, next
}
