package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/controller/fence"
	"clusterctrl/internal/controller/nat"
	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/node"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

const initHelp = `Init makes a controller ready, when it starts and before its network does:

  - a routing controller (cnat) lets its nodes reach all that it reaches itself;
  - a node without a card can use its own address alone on the network of its disk or
    NFS root, and reach the controller there, no other node (nftables);
  - a ClusterHAT that runs for the first time since it got power gets its pins set;
    a ClusterHAT that was running before, and its nodes, stay unchanged;
  - where /etc/default/clusterctrl says LINK=1, init makes the links by which nodes
    without cards find their boot files;
  - then init switches on the nodes that POWER_ON names in that file: none, all, last
    (the nodes that were on last), or nodes such as p1 p3-p5. Systemd does not wait
    for that.

On a machine that is no controller init does nothing.`

func initCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make a controller ready (on the controller, at boot)",
		Long:    initHelp,
		Example: "  sudo clusterctrl init\n  clusterctrl init --dry-run",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := thisController(cmd)
			if c == nil || err != nil {
				return errors.Join(err, ready())
			}
			if dryRun {
				return withBoards(cmd, true, func(c *controller) error { _, err := c.startBoards(); return err })
			}
			return c.init(cmd)
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would be written to the boards, write nothing")
	return cmd
}

// init makes the controller ready. A step that fails does not keep it from the others.
func (c *controller) init(cmd *cobra.Command) error {
	errs := []error{c.route(cmd)}
	if err := fence.Start(); err != nil && servesNodes() {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", unfenced(err))
	}
	opened := c.open()
	errs = append(errs, opened)
	running, err := c.startBoards()
	errs = append(errs, err, disk.Dir{Path: node.Disks}.Welcome())
	errs = append(errs, c.linkBoot())
	errs = append(errs, c.boards.Close(), makeLastDir(power.LastDir), ready())
	if opened != nil {
		return errors.Join(errs...)
	}
	k := &bookkeeper{cmd: cmd, last: power.LastDir, switched: map[node.ID]time.Time{}}
	errs = append(errs, c.machine.PowerOn(cmd.Context(), c.options, k.last, running, k.note))
	return errors.Join(errs...)
}

// unfenced says what it means that nodes are not kept to their own addresses, because of
// err.
func unfenced(err error) error {
	return fmt.Errorf("a node without a card could take another's address: %w", err)
}

// fenceRemedy makes the rules that keep nodes to their own addresses.
const fenceRemedy = "sudo clusterctrl init"

// servesNodes reports whether there is a node without a card here, by its disk or root.
func servesNodes() bool {
	disks, err := disk.Dir{Path: node.Disks}.IDs()
	roots, _ := filepath.Glob(filepath.Join(node.NFSRoots, "p*", "etc"))
	return err != nil || len(disks)+len(roots) > 0
}

// ready tells systemd that units that wait for the controller may start.
func ready() error {
	_, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	return err
}

// startBoards makes boards ready that run for the first time since they got power.
// It returns the nodes of the boards that ran before and say so.
func (c *controller) startBoards() (running []node.ID, err error) {
	var errs []error
	first := node.MinID
	for _, b := range c.boards {
		fresh, err := b.Start()
		if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", b, err))
		}
		if _, says := b.(*power.Ctrl); !says && !fresh {
			for x := range b.Nodes() {
				running = append(running, first+node.ID(x))
			}
		}
		first += node.ID(b.Nodes())
	}
	return running, errors.Join(errs...)
}

// makeLastDir makes the directory of the note which nodes were switched on last.
// Members of the group i2c may write there, since they may switch nodes.
func makeLastDir(name string) error {
	if err := os.MkdirAll(name, 0o755); err != nil {
		return err
	}
	group, err := user.LookupGroup("i2c")
	if err != nil {
		return nil // root alone switches nodes here
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return errors.Join(os.Chown(name, 0, id), os.Chmod(name, 0o775))
}

// route has a routing controller route, a bridging one not.
func (c *controller) route(cmd *cobra.Command) error {
	if !c.role.NAT {
		return nat.Stop() // what an earlier role may have left
	}
	if err := nat.Start(); err != nil {
		return err
	}
	chains, err := nat.Dropping()
	if err != nil || len(chains) == 0 {
		return nil // what cannot be asked is no nf_tables, and the rules are elsewhere
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "warning: a firewall drops what it does not know when it is forwarded (nftables: %s): to let nodes out, have it accept what comes from %s; with ufw: ufw route allow in on %[2]s\n",
		strings.Join(chains, ", "), node.Bridge)
	return nil
}
