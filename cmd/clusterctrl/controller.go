package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"github.com/spf13/cobra"
)

// A controller is this machine with its boards.
type controller struct {
	role     node.Role
	settings defaults.Text
	machine  power.Machine

	// Once open was called.
	options power.Options
	boards  power.Boards
}

// A noController is why this machine is no controller.
type noController string

func (why noController) Error() string { return "this is no controller: " + string(why) }

// findController returns the controller that this machine is by its settings. On
// another machine, the error is a noController.
func findController() (*controller, error) {
	settings, err := defaults.Read(node.SettingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noController("no " + node.SettingsFile)
	}
	if err != nil {
		return nil, err
	}
	kind, err := settings.Value("TYPE")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node.SettingsFile, err)
	}
	roles := []node.Role{node.CBridge, node.CNAT}
	i := slices.IndexFunc(roles, func(r node.Role) bool { return r.Type() == kind })
	if i < 0 {
		return nil, noController(fmt.Sprintf("TYPE=%s in %s", kind, node.SettingsFile))
	}
	return &controller{role: roles[i], settings: settings, machine: power.ThisMachine()}, nil
}

// thisController returns the controller that this machine is. On another machine it says
// so and returns nothing, and no error: scripts run these commands on any machine.
func thisController(cmd *cobra.Command) (*controller, error) {
	c, err := findController()
	if errors.As(err, new(noController)) {
		fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl:", err)
		return nil, nil
	}
	return c, err
}

// onController returns the controller that this machine is. It refuses to go on on
// another machine, where no node is.
func onController(cmd *cobra.Command) (*controller, error) {
	c, err := findController()
	if errors.As(err, new(noController)) {
		_, verb, _ := strings.Cut(cmd.CommandPath(), " ")
		return nil, fmt.Errorf("%s works on a controller alone; %w", verb, err)
	}
	return c, err
}

// open finds the boards, which are to be closed.
func (c *controller) open() (err error) {
	if c.options, err = power.ParseOptions(c.settings); err != nil {
		return fmt.Errorf("%s: %w", node.SettingsFile, err)
	}
	c.boards, err = c.machine.Boards(c.options)
	return needRights(err)
}

// withBoards does something with this controller's boards. On a machine that is no
// controller it does nothing. Where dryRun is set, the boards only say what they
// would do.
func withBoards(cmd *cobra.Command, dryRun bool, do func(*controller) error) error {
	c, err := thisController(cmd)
	if c == nil || err != nil {
		return err
	}
	if dryRun {
		c.machine.Show = func(board, what string) { fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", board, what) }
	}
	if err := c.open(); err != nil {
		return err
	}
	defer c.boards.Close()
	return needRights(do(c))
}

// needRights says what to do where a user may not use the boards' devices.
func needRights(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w; run it as root, or be in the groups i2c and gpio", err)
	}
	return err
}

// nodes returns each node that is plugged in or that a board switches.
func (c *controller) nodes() ([]cluster.Node, error) {
	plugged, err := cluster.Nodes()
	if err != nil {
		return nil, err
	}
	return cluster.WithPower(plugged, c.boards.Supplies()), nil
}

// parseNodes parses sets of nodes that boards have; no words are all nodes.
func (c *controller) parseNodes(words []string) ([]node.ID, error) {
	if len(words) == 0 {
		words = []string{node.All}
	}
	if len(c.boards) == 0 {
		return nil, power.ErrNoBoard
	}
	return c.boards.Parse(words)
}

// nodeSets takes sets of nodes as arguments, at least as many.
func nodeSets(least int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := arguments(least, int(node.MaxID), "nodes, such as p1 p5-p9, or all")(cmd, args); err != nil {
			return err
		}
		if _, err := node.ParseSet(args, []node.ID{node.MinID}); err != nil {
			return usagef("%w", err)
		}
		return nil
	}
}

// onOff takes the words on or off, and further arguments.
func onOff(more cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] != "on" && args[0] != "off" {
			return usagef("%s: want on or off", cmd.Name())
		}
		return more(cmd, args[1:])
	}
}
