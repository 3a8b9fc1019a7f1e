package main

import (
	"path/filepath"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/provision"
	"github.com/spf13/cobra"
)

const nodesHelp = `Nodes makes node images from a controller's image that "clusterctrl build" made
and that has not been booted. What was changed in it since, the nodes get too.
Where the file system can share blocks (btrfs, XFS, APFS), 252 nodes take the
space of one.`

const nodesExample = `  # ten nodes beside the controller's image
  clusterctrl nodes out/2025-05-13-1-bookworm-ClusterCTRL-arm64-lite-CBRIDGE.img --nodes 10

  # two more, elsewhere
  clusterctrl nodes CBRIDGE.img --only p11,p12 -o cards`

type nodesFlags struct {
	dir                       string
	n                         int
	only                      []string
	force, keep, noSums, json bool
}

func nodesCommand() *cobra.Command {
	var f nodesFlags
	cmd := &cobra.Command{
		Use:     "nodes IMAGE --nodes N",
		Short:   "Make more node images from a controller's image",
		Long:    nodesHelp,
		Example: nodesExample,
		Args:    exactly(1, "IMAGE, a controller's"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runNodes(cmd, f, args[0]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVarP(&f.n, "nodes", "n", 0, "make the images of p1 to p`N`, N up to 252")
	fl.StringSliceVar(&f.only, "only", nil, "make the images of these `ROLES`: p7, cnat ...")
	fl.StringVarP(&f.dir, "output", "o", "", "make the images in `DIR` (default: beside IMAGE)")
	fl.BoolVar(&f.force, "force", false, "replace images that exist")
	fl.BoolVar(&f.keep, "keep", false, "keep images that exist, make the others")
	fl.BoolVar(&f.noSums, "no-sums", false, "write no SHA256SUMS: faster, for many nodes")
	fl.BoolVar(&f.json, "json", false, "print what was made as JSON")
	return cmd
}

func runNodes(cmd *cobra.Command, f nodesFlags, image string) error {
	o := provision.NodeOptions{Controller: image, Dir: f.dir, Sums: !f.noSums}
	if o.Dir == "" {
		o.Dir = filepath.Dir(image)
	}
	var err error
	if o.Existing, err = existing(f.force, f.keep); err != nil {
		return err
	}
	if o.Roles, err = f.roles(); err != nil {
		return err
	}
	show := display(cmd)
	defer show.Wait()
	o.Progress = show.Start
	result, err := provision.Nodes(cmd.Context(), o)
	if err != nil {
		return explain(err)
	}
	show.Wait()
	return printResult(cmd, result, o.Dir, f.json)
}

func (f nodesFlags) roles() ([]node.Role, error) {
	if f.n < 0 || f.n > int(node.MaxID) {
		return nil, usagef("%d nodes: want 1 to %d", f.n, node.MaxID)
	}
	if (f.n > 0) == (len(f.only) > 0) {
		return nil, usagef("want --nodes N, from 1, or --only ROLES, one of them")
	}
	var roles []node.Role
	for _, word := range f.only {
		role, err := node.ParseRole(strings.ToLower(strings.TrimSpace(word)))
		if err != nil {
			return nil, usageError{err}
		}
		roles = append(roles, role)
	}
	for n := range f.n {
		roles = append(roles, node.Node(node.ID(n+1)))
	}
	return roles, nil
}
