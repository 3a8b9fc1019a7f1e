package main

import (
	"errors"
	"net/netip"

	"clusterctrl/internal/controller/clock"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const clockHelp = `Clock tells nodes the time, by NTP, at the address that the controller has on its
nodes' network. Nodes have no clock that runs without power, and perhaps no internet: they
ask the controller first, and servers on the internet if it does not answer. A controller
that has not got the time from the internet tells its own, so that all agree.

If another NTP server runs here, clock leaves the nodes to it, and ends.`

func clockCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "clock",
		Short:   "Tell nodes the time (the service clusterctrl-clock runs it)",
		Long:    clockHelp,
		Example: "  clusterctrl run all -- timedatectl timesync-status",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := onController(cmd); err != nil {
				return err
			}
			conn, err := clock.Listen(cmd.Context(), netip.AddrPortFrom(node.ControllerAddr, clock.Port))
			if errors.Is(err, clock.ErrTaken) {
				say(cmd, "%v: nodes are left to it", err)
				return nil
			}
			if err != nil {
				return needRoot(err)
			}
			return clock.Serve(cmd.Context(), conn, clock.Synchronised)
		},
	}
}
