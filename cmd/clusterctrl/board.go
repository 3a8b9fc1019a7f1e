package main

import (
	"errors"
	"fmt"
	"strconv"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// boardCommands are the commands about ClusterCTRL boards, which name boards by their order.
func boardCommands() []*cobra.Command {
	commands := []*cobra.Command{
		boardCommand("reset ORDER", "Have a ClusterCTRL board start anew", "  clusterctrl reset 20", (*power.Ctrl).Reset),
	}
	for _, save := range []struct {
		name, what string
		saved      power.Saved
	}{
		{"save", "keep its settings without power", power.SaveAll},
		{"saveorder", "keep its order without power", power.SaveOrder},
		{"saveusbboot", "keep which nodes boot over USB without power", power.SaveUSBBoot},
		{"savepos", "switch on by itself the nodes that are on now", power.SavePower},
		{"savedefaults", "forget what was saved in it", power.SaveDefaults},
	} {
		commands = append(commands, boardCommand(save.name+" ORDER", "Have a ClusterCTRL board "+save.what,
			"  clusterctrl "+save.name+" 20", func(b *power.Ctrl) error { return b.Save(save.saved) }))
	}
	return append(commands, setorderCommand())
}

func boardCommand(use, short, example string, do func(*power.Ctrl) error) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:     use,
		Short:   short + " (on the controller)",
		Example: example,
		Args:    orders(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, dryRun, func(c *controller) error {
				b, err := c.byOrder(args[0])
				if err != nil {
					return err
				}
				if err := do(b); err != nil {
					return fmt.Errorf("%v: %w", b, err)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written to the board, write nothing")
	return cmd
}

const setorderHelp = `Setorder gives a ClusterCTRL board another place among the boards, until the board
loses power. Nodes are numbered in the order of their boards. Saveorder has the board
keep its place. A ClusterHAT always comes first.`

func setorderCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "setorder OLD NEW",
		Short:   "Give a ClusterCTRL board another place (on the controller)",
		Long:    setorderHelp,
		Example: "  clusterctrl setorder 20 21\n  clusterctrl saveorder 21",
		Args:    orders(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, dryRun, func(c *controller) error { return c.setOrder(args[0], args[1]) })
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written to the board, write nothing")
	return cmd
}

func (c *controller) setOrder(from, to string) error {
	b, err := c.byOrder(from)
	if err != nil {
		return err
	}
	if other, err := c.byOrder(to); err == nil && other != b {
		return fmt.Errorf("order %s is taken: %v has it", to, other)
	}
	order, err := strconv.ParseUint(to, 10, 8)
	if err != nil {
		return err
	}
	if err := b.SetOrder(byte(order)); err != nil {
		return fmt.Errorf("%v: %w", b, err)
	}
	return nil
}

const getpathHelp = `Getpath prints the USB path of nodes, a line NODE:PATH each, whether they are
plugged in or not. A path follows from the board and the place of its hub or, where
that is not known, from a node that is plugged in. Getpath switches nothing to find out.

The exit status is 1 if the path of a node is not known.`

func getpathCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "getpath [NODES]",
		Short:             "Print the USB paths of nodes (on the controller)",
		Long:              getpathHelp,
		Example:           "  clusterctrl getpath\n  clusterctrl getpath p1",
		Args:              nodeSets(0),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, false, func(c *controller) error { return c.getPaths(cmd, args) })
		},
	}
}

func (c *controller) getPaths(cmd *cobra.Command, words []string) error {
	ids, err := c.parseNodes(words)
	if err != nil {
		return err
	}
	plugged, err := c.learnPaths()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		path, err := c.boards.Path(id)
		if path == "" && err == nil {
			path = plugged[id]
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case path == "":
			errs = append(errs, fmt.Errorf("%v: its USB path cannot be computed: plug the node in, or set CLUSTERHATV1 for a ClusterHAT v1", id))
		default:
			println(cmd.OutOrStdout(), fmt.Sprintf("%v:%s", id, path))
		}
	}
	return errors.Join(errs...)
}

// learnPaths has the boards learn from the USB paths of nodes that are plugged in,
// and returns these paths.
func (c *controller) learnPaths() (map[node.ID]string, error) {
	nodes, err := cluster.Nodes()
	if err != nil {
		return nil, err
	}
	paths := map[node.ID]string{}
	for _, n := range nodes {
		if !n.OtherHolds {
			paths[n.ID] = n.USBPath
		}
	}
	c.boards.Learn(paths)
	return paths, nil
}

// linkBoot makes the links by which nodes without cards find their boot files, on a
// controller that makes links.
func (c *controller) linkBoot() error {
	if !c.options.Links || len(c.boards) == 0 {
		return nil
	}
	_, err := c.learnPaths()
	return errors.Join(err, c.boards.LinkBoot(node.RPIBootDir, node.NFSRoots, node.Disks))
}
