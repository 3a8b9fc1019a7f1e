package power

import (
	"context"
	"fmt"
	"time"

	"clusterctrl/internal/node"
)

// A Switch switches nodes, one after the other in the order given, since each draws
// most current when it starts.
type Switch struct {
	Boards Boards
	Delay  time.Duration // from one node that is switched on to the next
	DryRun bool          // the boards only show what they would do

	// Done gets the outcome for each node. It may be nil.
	Done func(Step)
}

// A Step is the outcome for one node.
type Step struct {
	Node    node.ID
	Board   string
	On      bool // what the node was to be
	Already bool // the node was so before
	Err     error
}

// offTime is how long a node is off when it is cycled, so that its capacitors are empty.
const offTime = 2 * time.Second

// Set switches nodes on or off. It leaves nodes alone that are as wanted, goes on where
// one fails, and stops between two nodes when the context ends.
func (s Switch) Set(ctx context.Context, ids []node.ID, on bool) error {
	failed := 0
	var next time.Time
	for _, id := range ids {
		step := s.look(id, on)
		if step.Err == nil && !step.Already {
			if err := s.pause(ctx, time.Until(next)); err != nil {
				return err
			}
			step.Err = s.set(id, on)
			if on {
				next = time.Now().Add(s.Delay)
			}
		}
		if step.Err != nil {
			failed++
		}
		if s.Done != nil {
			s.Done(step)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d nodes were not switched %s", failed, len(ids), word(on))
	}
	return nil
}

func word(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Cycle switches nodes off and on again. Nodes that were off it switches on.
func (s Switch) Cycle(ctx context.Context, ids []node.ID) error {
	if err := s.Set(ctx, ids, false); err != nil {
		return err
	}
	if err := s.pause(ctx, offTime); err != nil {
		return err
	}
	return s.Set(ctx, ids, true)
}

// look finds out whether a node is on or off already, as wanted.
func (s Switch) look(id node.ID, on bool) Step {
	step := Step{Node: id, On: on}
	b, x, err := s.Boards.Find(id)
	if err != nil {
		step.Err = err
		return step
	}
	step.Board = b.String()
	is, err := b.Power(x)
	step.Already = err == nil && is == on
	step.Err = about(id, b, err)
	return step
}

func (s Switch) set(id node.ID, on bool) error {
	b, x, err := s.Boards.Find(id)
	if err != nil {
		return err
	}
	return about(id, b, b.SetPower(x, on))
}

// about says which node and board an error is about.
func about(id node.ID, b Board, err error) error {
	if err != nil {
		err = fmt.Errorf("%v: %v: %w", id, b, err)
	}
	return err
}

func (s Switch) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 || s.DryRun {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
