package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const onHelp = `On switches nodes on, one after the other in the order given. Between two nodes, it
pauses for the seconds that CLUSTERCTRL_DELAY in /etc/default/clusterctrl says. Nodes
that are on already are left alone. Without NODES, it switches all nodes on.

With --wait, it returns once each node has its link and its console, and says how
long each node took.

The exit status is 1 if a node could not be switched, or was not ready in time. On a
machine that is no controller, "on" does nothing, and the exit status is 0.`

const offHelp = `Off cuts the power of nodes, without warning to the programs that run on them. Without
NODES, it cuts the power of all nodes. On a machine that is no controller, it does
nothing, and the exit status is 0.`

const cycleHelp = `Cycle switches nodes off, and after two seconds on again, as on does.`

// switchFlags are the flags of on, off and cycle.
type switchFlags struct {
	dryRun, wait bool
	timeout      time.Duration
}

func onCommand() *cobra.Command {
	return switchCommand("on [NODES]", "Switch nodes on", onHelp,
		"  clusterctrl on p1 p5-p9\n  clusterctrl on --wait p1-p4\n  clusterctrl on all --dry-run", 0, switchOn)
}

func offCommand() *cobra.Command {
	return switchCommand("off [NODES]", "Switch nodes off", offHelp, "  clusterctrl off p3\n  clusterctrl off all", 0, switchOff)
}

func cycleCommand() *cobra.Command {
	return switchCommand("cycle NODES", "Switch nodes off and on again", cycleHelp, "  clusterctrl cycle p3\n  clusterctrl cycle --wait p1,p2", 1, cycle)
}

// A switching switches nodes as its command says.
type switching func(ctx context.Context, s power.Switch, ids []node.ID) error

func switchOn(ctx context.Context, s power.Switch, ids []node.ID) error { return s.Set(ctx, ids, true) }
func switchOff(ctx context.Context, s power.Switch, ids []node.ID) error {
	return s.Set(ctx, ids, false)
}
func cycle(ctx context.Context, s power.Switch, ids []node.ID) error { return s.Cycle(ctx, ids) }

func switchCommand(use, short, long, example string, least int, do switching) *cobra.Command {
	var f switchFlags
	cmd := &cobra.Command{
		Use:               use,
		Short:             short + " (on the controller)",
		Long:              long,
		Example:           example,
		Args:              nodeSets(least),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, f.dryRun, func(c *controller) error { return c.switchNodes(cmd, f, args, do) })
		},
	}
	cmd.Flags().BoolVarP(&f.dryRun, "dry-run", "n", false, "print what would be written to which board, write nothing")
	if !strings.HasPrefix(use, "off") {
		cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until each node has its link and its console")
		cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "with --wait: give up after `TIME`, such as 90s")
	}
	return cmd
}

func (c *controller) switchNodes(cmd *cobra.Command, f switchFlags, words []string, do switching) error {
	ids, err := c.parseNodes(words)
	if err != nil {
		return err
	}
	var before []cluster.Node
	if cmd.Name() == "cycle" {
		if before, err = cluster.Nodes(); err != nil {
			return err
		}
	}
	k := &bookkeeper{cmd: cmd, last: power.LastDir, dryRun: f.dryRun, switched: map[node.ID]time.Time{}}
	err = do(cmd.Context(), power.Switch{Boards: c.boards, Delay: c.options.Delay, DryRun: f.dryRun, Done: k.note}, ids)
	if ctx := cmd.Context(); ctx.Err() != nil {
		c.sayWhatIsOn(cmd, ids)
		return ctx.Err()
	}
	if !f.wait || f.dryRun {
		return err
	}
	return errors.Join(err, await(cmd, k, before, f.timeout))
}

// sayWhatIsOn says which of the nodes are on when a command was stopped.
func (c *controller) sayWhatIsOn(cmd *cobra.Command, ids []node.ID) {
	on := []string{"on:"}
	for _, id := range ids {
		b, x, err := c.boards.Find(id)
		if err != nil {
			continue
		}
		if is, err := b.Power(x); is && err == nil {
			on = append(on, id.String())
		}
	}
	if len(on) == 1 {
		on = append(on, "none")
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl: stopped;", strings.Join(on, " "))
}

// A bookkeeper notes what was done to nodes: in the journal, in the file that
// POWER_ON=last reads, and, for failures, on standard error.
type bookkeeper struct {
	cmd      *cobra.Command
	last     power.Last
	dryRun   bool
	switched map[node.ID]time.Time // when, nodes that are as wanted now
	failed   bool                  // a note
}

func (k *bookkeeper) note(s power.Step) {
	if s.Err != nil {
		fmt.Fprintln(k.cmd.ErrOrStderr(), "clusterctrl:", needRights(s.Err))
	} else {
		k.switched[s.Node] = time.Now()
	}
	if k.dryRun {
		return
	}
	err := s.Journal()
	if s.Err == nil {
		noted := k.last.Note(s.Node, s.On)
		if errors.Is(noted, fs.ErrNotExist) {
			noted = nil // init has not run here
		}
		err = errors.Join(err, noted)
	}
	if err != nil && !k.failed {
		k.failed = true
		fmt.Fprintln(k.cmd.ErrOrStderr(), "warning: not noted:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// await waits for the nodes that were switched on.
func await(cmd *cobra.Command, k *bookkeeper, before []cluster.Node, timeout time.Duration) error {
	ctx, stop := context.WithTimeout(cmd.Context(), timeout)
	defer stop()
	ids := slices.Sorted(maps.Keys(k.switched))
	came := map[node.ID]bool{}
	err := cluster.Await(ctx, ids, before, func(n cluster.Node) {
		came[n.ID] = true
		took := max(0, time.Since(k.switched[n.ID]))
		println(cmd.OutOrStdout(), fmt.Sprintf("%v: link %s and console %s after %.1f s", n.ID, n.Interface, n.Serial, took.Seconds()))
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, id := range ids {
		if !came[id] {
			fmt.Fprintf(cmd.ErrOrStderr(), "clusterctrl: %v is on, but has no link or no console after %v\n", id, timeout)
		}
	}
	return fmt.Errorf("%d of %d nodes did not come", len(ids)-len(came), len(ids))
}
