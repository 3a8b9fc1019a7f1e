package main

import (
	"clusterctrl/internal/nat"
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
				return nat.Start()
			case kind == node.CBridge.Type():
				return nat.Stop() // what an earlier role may have left
			}
			return nil
		},
	}
}
