package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"clusterctrl/internal/pi/gadget"
	"github.com/spf13/cobra"
)

const compositeHelp = `Composite makes a node a USB device with a network card and a serial console, as the
node's settings in /etc/default/clusterctrl say. It runs on the node, as
composite-clusterctrl, when the node starts.`

func compositeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "composite {start | stop}",
		Short:   "Start or stop the USB gadget of a node (on the node)",
		Long:    compositeHelp,
		Example: "  sudo composite-clusterctrl start\n  sudo composite-clusterctrl stop",
		Args:    exactly(0, "start or stop"),
	}
	start := func(ctx context.Context) (gadget.Report, error) { return gadget.Start(ctx, gadget.Options{}) }
	stop := func(context.Context) (gadget.Report, error) { return gadget.Stop(gadget.Options{}) }
	cmd.AddCommand(gadgetVerb("start", "Build the gadget and show it to the controller", start))
	cmd.AddCommand(gadgetVerb("stop", "Take the gadget down", stop))
	cmd.RunE = func(*cobra.Command, []string) error { return usagef("composite: want start or stop") }
	return cmd
}

func gadgetVerb(name, short string, run func(context.Context) (gadget.Report, error)) *cobra.Command {
	return &cobra.Command{
		Use:     name,
		Short:   short,
		Example: "  sudo composite-clusterctrl " + name,
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := run(cmd.Context())
			if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
				return fmt.Errorf("%w; run it as root", err)
			}
			if err != nil {
				return err
			}
			return println(cmd.OutOrStdout(), report.String())
		},
	}
}
