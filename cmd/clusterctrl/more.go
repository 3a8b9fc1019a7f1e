package main

import (
	"fmt"
	"path/filepath"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// more makes the images of other roles from one that build made, as o and the flags say.
func (f buildFlags) more(cmd *cobra.Command, image string, role node.Role, o provision.MoreOptions) error {
	if err := refuseSettings(cmd, append([]string{"no-nat", "with-nodes", "revision", "usbboot"}, settingFlags...), "the image was made already, and has its settings"); err != nil {
		return err
	}
	if len(o.Roles) == 0 {
		if f.nodes < 0 || f.nodes > int(node.MaxID) {
			return usagef("%d nodes: want 1 to %d", f.nodes, node.MaxID)
		}
		o.Roles = nodesUpTo(f.nodes)
	}
	if len(o.Roles) == 0 {
		return fmt.Errorf("%s: it is an image of %v already: say with --nodes N or --only ROLES which others to make of it", image, role)
	}
	sum, err := f.wantedSum(cmd)
	if err != nil {
		return err
	}
	o.Image, o.Dir, o.Sum, o.Sums, o.Branded = image, f.dir, sum, f.sums, f.branded
	if o.Dir == "" {
		o.Dir = filepath.Dir(image)
	}
	show := display(cmd)
	defer show.Wait()
	o.Progress = show.Start
	if f.dryRun {
		return f.preview(cmd, func(show func(provision.Preview) error) error { return provision.DryRunMore(cmd.Context(), o, show) })
	}
	result, err := provision.More(cmd.Context(), o)
	if err != nil {
		return explain(err)
	}
	show.Wait()
	return printResult(cmd, result, f)
}
