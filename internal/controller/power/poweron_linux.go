package power

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
)

// boardsTime is how long boards may take to appear on USB, behind their hubs, after the
// controller has started.
const boardsTime = 30 * time.Second

// PowerOn switches on the nodes that o.PowerOn names. For boards that are not there yet, it
// waits for half a minute. It leaves the nodes in except as they are.
func (m Machine) PowerOn(ctx context.Context, o Options, last Last, except []node.ID, done func(Step)) error {
	if o.PowerOn == PowerOnNone {
		return nil
	}
	p := pending{m, o, last, slices.Clone(except), done}
	waiting, stop := context.WithTimeout(ctx, boardsTime)
	defer stop()
	var failed error
	err := uevent.WaitNamed(waiting, func() (bool, error) {
		complete, err := p.try(ctx)
		failed = err
		return complete, ctx.Err()
	}, "i2c-dev")
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = nil // these are all boards
	}
	return errors.Join(err, failed)
}

// pending is the nodes that are still to be switched on.
type pending struct {
	Machine
	Options
	last   Last
	tried  []node.ID
	report func(Step)
}

// try switches on each wanted node whose board is there. complete says whether no wanted
// node is left.
func (p *pending) try(ctx context.Context) (complete bool, err error) {
	boards, err := p.Boards(p.Options)
	if err != nil {
		return false, err
	}
	defer boards.Close()
	wanted, complete, err := p.wanted(boards)
	if err != nil {
		return false, err
	}
	wanted = slices.DeleteFunc(wanted, func(id node.ID) bool { return slices.Contains(p.tried, id) })
	p.tried = append(p.tried, wanted...)
	return complete, Switch{Boards: boards, Delay: p.Delay, Done: p.report}.Set(ctx, wanted, true)
}

// wanted returns each node that is to be switched on and that a board has. complete says
// whether boards have all nodes that are to be switched on.
func (p *pending) wanted(boards Boards) (ids []node.ID, complete bool, err error) {
	if p.Options.PowerOn == PowerOnLast {
		ids, err = p.last.Nodes()
	} else if ids = boards.IDs(); p.Options.PowerOn != node.All || len(ids) > 0 {
		ids, err = node.ParseSet(strings.Fields(p.Options.PowerOn), ids)
	}
	n := len(ids)
	ids = slices.DeleteFunc(ids, func(id node.ID) bool { return int(id) > boards.MaxNodes() })
	return ids, len(ids) == n && p.Options.PowerOn != node.All, err
}
