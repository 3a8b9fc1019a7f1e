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
	Node Node      `json:"node"` // as it was at last, if it is no more
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
// tells of the node. It does not wait for a node whose names another node has.
const patience = 3 * time.Second

// A follower tells of nodes that come, once they have their names, and of those
// that go.
type follower struct {
	told    map[string]Node      // by device
	pending map[string]time.Time // devices that came, and when they are told of at the latest
	on      map[node.ID]bool     // nodes that boards switch
}

func newFollower(nodes []Node) *follower {
	f := &follower{map[string]Node{}, map[string]time.Time{}, map[node.ID]bool{}}
	for _, n := range nodes {
		f.told[n.device] = n
	}
	return f
}

// look compares what is plugged in with what was told of. next is when to look
// again though nothing happens; zero if there is no need.
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
