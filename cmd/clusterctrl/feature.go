package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// featureCommand returns a command that turns a feature of boards on or off.
func featureCommand(use, short, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *controller, on bool, args []string) error) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:       use,
		Short:     short + " (on the controller)",
		Example:   example,
		Args:      onOff(args),
		ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, dryRun, func(c *controller) error {
				if len(c.boards) == 0 {
					return power.ErrNoBoard
				}
				return run(cmd, c, args[0] == "on", args[1:])
			})
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written to which board, write nothing")
	return cmd
}

func alertCommand() *cobra.Command {
	return featureCommand("alert {on | off} [NODES]", "Have boards blink, or stop",
		"  clusterctrl alert on p3\n  clusterctrl alert off", nodeSets(0),
		func(cmd *cobra.Command, c *controller, on bool, args []string) error { return c.alert(cmd, args, on) })
}

// alert turns on or off the alerts of nodes, or of all boards. A ClusterHAT has one
// alert for all of its nodes.
func (c *controller) alert(cmd *cobra.Command, words []string, on bool) error {
	if len(words) == 0 {
		return c.setAll(cmd, power.Alert, on)
	}
	ids, err := c.parseNodes(words)
	if err != nil {
		return err
	}
	return c.setNodes(ids, power.Alert, on)
}

// setNodes turns a feature of nodes on or off, and goes on where one fails.
func (c *controller) setNodes(ids []node.ID, f power.Feature, on bool) error {
	var errs []error
	for _, id := range ids {
		b, x, err := c.boards.Find(id)
		if err == nil {
			err = b.Set(f, x, on)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// setAll turns a feature on or off on all boards that have it. It names boards that
// lack the feature; if all lack it, that is an error.
func (c *controller) setAll(cmd *cobra.Command, f power.Feature, on bool) error {
	return c.each(cmd, func(b power.Board) error { return b.Set(f, 0, on) })
}

func (c *controller) each(cmd *cobra.Command, do func(power.Board) error) error {
	var lacking, errs []error
	for _, b := range c.boards {
		err := do(b)
		if errors.Is(err, errors.ErrUnsupported) {
			lacking = append(lacking, err)
		} else if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", b, err))
		}
	}
	if len(lacking) == len(c.boards) {
		return errors.Join(lacking...)
	}
	for _, err := range lacking {
		fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl:", err)
	}
	return errors.Join(errs...)
}

const identifyHelp = `Identify has a node's board blink, so that you can find it, for half a minute or
for the time in --for. A ClusterHAT has one alert for all of its nodes.`

func identifyCommand() *cobra.Command {
	var duration time.Duration
	cmd := &cobra.Command{
		Use:               "identify NODES",
		Short:             "Have a node's board blink for a while (on the controller)",
		Long:              identifyHelp,
		Example:           "  clusterctrl identify p3\n  clusterctrl identify p3 --for 2m",
		Args:              nodeSets(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, false, func(c *controller) error { return c.identify(cmd, args, duration) })
		},
	}
	cmd.Flags().DurationVar(&duration, "for", 30*time.Second, "how long: `TIME` such as 30s or 2m")
	return cmd
}

func (c *controller) identify(cmd *cobra.Command, words []string, duration time.Duration) error {
	if duration <= 0 {
		return usagef("identify: --for %v: want a time above 0", duration)
	}
	if err := c.alert(cmd, words, true); err != nil {
		return errors.Join(err, c.alert(cmd, words, false))
	}
	ctx, stop := context.WithTimeout(cmd.Context(), duration)
	defer stop()
	<-ctx.Done()
	return c.alert(cmd, words, false)
}

func ledCommand() *cobra.Command {
	return featureCommand("led {on | off}", "Turn the boards' LEDs on or off", "  clusterctrl led off", exactly(0, "on or off alone"),
		func(cmd *cobra.Command, c *controller, on bool, _ []string) error {
			return c.setAll(cmd, power.LEDs, on)
		})
}

func wpCommand() *cobra.Command {
	return featureCommand("wp {on | off}", "Protect the ClusterHAT's EEPROM, or allow writing to it",
		"  clusterctrl wp off", exactly(0, "on or off alone"),
		func(cmd *cobra.Command, c *controller, on bool, _ []string) error {
			return c.setAll(cmd, power.WriteProtect, on)
		})
}

func actCommand() *cobra.Command {
	return featureCommand("act {on | off} [ORDER]", "Turn the activity LED of ClusterCTRL boards on or off",
		"  clusterctrl act off\n  clusterctrl act on 20", orders(0, 1),
		func(cmd *cobra.Command, c *controller, on bool, args []string) error {
			if len(args) == 0 {
				return c.setAll(cmd, power.ActLED, on)
			}
			b, err := c.byOrder(args[0])
			if err != nil {
				return err
			}
			return b.Set(power.ActLED, 0, on)
		})
}

// controllersFan is the word for the fan at the controller itself.
const controllersFan = "c"

func fanCommand() *cobra.Command {
	isOrder := orders(0, 1)
	args := func(cmd *cobra.Command, args []string) error {
		if slices.Equal(args, []string{controllersFan}) {
			return nil
		}
		return isOrder(cmd, args)
	}
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "fan {on | off} [ORDER | c]",
		Short: "Turn the fans of boards, or that of the controller, on or off (on the controller)",
		Long: `Fan turns the fans of all ClusterCTRL boards on or off, that of the board of an
order, or, with c, one at the controller's own GPIO, which FANGPIO in
/etc/default/clusterctrl names.`,
		Example:   "  clusterctrl fan on\n  clusterctrl fan off 20\n  clusterctrl fan on c",
		Args:      onOff(args),
		ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, dryRun, func(c *controller) error { return c.fan(cmd, args[0] == "on", args[1:]) })
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written where, write nothing")
	return cmd
}

func (c *controller) fan(cmd *cobra.Command, on bool, args []string) error {
	switch {
	case len(args) == 0 && len(c.boards) == 0:
		return power.ErrNoBoard
	case len(args) == 0:
		return c.setAll(cmd, power.Fan, on)
	case args[0] == controllersFan:
		return c.machine.SetLine(c.options.FanLine, on)
	}
	b, err := c.byOrder(args[0])
	if err != nil {
		return err
	}
	return b.Set(power.Fan, 0, on)
}

func hubCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "hub {on | off | reset}",
		Short: "Switch the boards' USB hub, which all nodes hang on (on the controller)",
		Long: `Hub switches the USB hub that a board's nodes hang on, or with reset switches it
off for a second. ClusterCTRL boards know reset alone, a ClusterHAT v1 none.`,
		Example:   "  clusterctrl hub reset",
		ValidArgs: []string{"on", "off", "reset"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains([]string{"on", "off", "reset"}, args[0]) {
				return usagef("hub: want on, off or reset")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBoards(cmd, dryRun, func(c *controller) error {
				switch {
				case len(c.boards) == 0:
					return power.ErrNoBoard
				case args[0] == "reset":
					return c.each(cmd, power.Board.CycleHub)
				}
				return c.setAll(cmd, power.Hub, args[0] == "on")
			})
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written to which board, write nothing")
	return cmd
}

// orders takes orders of boards as arguments.
func orders(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := arguments(least, most, "the order of a board, 1 to 255")(cmd, args); err != nil {
			return err
		}
		for _, arg := range args {
			if n, err := strconv.Atoi(arg); err != nil || n < 1 || n > 255 {
				return usagef("%s: order %q: want 1 to 255", cmd.Name(), arg)
			}
		}
		return nil
	}
}

// byOrder returns the ClusterCTRL board of an order.
func (c *controller) byOrder(arg string) (*power.Ctrl, error) {
	order, err := strconv.Atoi(arg)
	if err != nil {
		return nil, err
	}
	return c.boards.ByOrder(order)
}
