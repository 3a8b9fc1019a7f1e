package main

import (
	"fmt"
	"strings"

	"clusterctrl/internal/controller/nat"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const initHelp = `Init makes a controller ready, when it starts and before its network does: a
routing controller (cnat) lets its nodes reach what it reaches itself. On a
machine that is no controller it does nothing.`

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Make a controller ready (on the controller, at boot)",
		Long:    initHelp,
		Example: "  sudo clusterctrl init",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind, err := controllerType(cmd)
			switch {
			case err != nil:
				return err
			case kind == node.CNAT.Type():
				return route(cmd)
			case kind == node.CBridge.Type():
				return nat.Stop() // what an earlier role may have left
			}
			return nil
		},
	}
}

// route has a routing controller route, and says what keeps it from doing so.
func route(cmd *cobra.Command) error {
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
