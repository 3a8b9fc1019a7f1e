package main

import (
	"path/filepath"
	"strings"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const nodesHelp = `Nodes without an IMAGE, on a controller, lists the nodes that are plugged in: where,
how they booted, their network card and serial console here, and since when. What
is missing is shown as "-". An address besides 172.19.181.n is known once the
controller has talked to the node there. Of two nodes with one number, the list
says which has the name.

Nodes with an IMAGE, on any computer, makes node images from a controller's image
that "clusterctrl build" made and that has not been booted. What was changed in it
since, the nodes get too. Where the file system can share blocks (btrfs, XFS,
APFS), 252 nodes take the space of one. With --branded, each image is made what it is
now: see "clusterctrl build --help".`

const nodesExample = `  # what is plugged in; then what comes and goes, until Ctrl-C
  clusterctrl nodes
  clusterctrl nodes --watch

  # images of two more nodes, beside the controller's
  clusterctrl nodes out/*-CBRIDGE.img --only p5,p6

  # of ten, elsewhere
  clusterctrl nodes out/*-CBRIDGE.img --nodes 10 -o cards`

type nodesFlags struct {
	watch                   bool
	dir                     string
	n                       int
	only                    []string
	force, keep, sums, json bool
	branded                 bool
}

func nodesCommand() *cobra.Command {
	var f nodesFlags
	cmd := &cobra.Command{
		Use:     "nodes [--watch] | nodes IMAGE {--nodes N | --only ROLES}",
		Short:   "List the nodes that are plugged in, or make more node images",
		Long:    nodesHelp,
		Example: nodesExample,
		Args:    arguments(0, 1, "none, or IMAGE, a controller's"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return f.list(cmd)
			}
			if f.watch {
				return usagef("--watch is about nodes that are plugged in: want no IMAGE")
			}
			return runNodes(cmd, f, args[0])
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.watch, "watch", "w", false, "list: print a line for each node plugged in or unplugged from now on")
	fl.BoolVar(&f.json, "json", false, "list, or images: print JSON; with --watch an object a line")
	fl.IntVarP(&f.n, "nodes", "n", 0, "images: make those of p1 to p`N`, N up to 252")
	fl.StringSliceVar(&f.only, "only", nil, "images: make those of these `ROLES`: p7, cnat ...")
	fl.StringVarP(&f.dir, "output", "o", "", "images: make them in `DIR` (default: beside IMAGE)")
	fl.BoolVar(&f.force, "force", false, "images: replace those that exist")
	fl.BoolVar(&f.keep, "keep", false, "images: keep those that exist, make the others")
	addSums(cmd, &f.sums, "images: write their checksums to SHA256SUMS, which takes longer for each")
	fl.BoolVar(&f.branded, "branded", false, "images: make each what its first boot would make it")
	completeDir(cmd, "output")
	return cmd
}

// imageFlags are those that say which images to make and how.
var imageFlags = []string{"nodes", "only", "output", "force", "keep", "sums", "no-sums", "branded"}

// list prints what is plugged in, or what comes and goes.
func (f nodesFlags) list(cmd *cobra.Command) error {
	for _, name := range imageFlags {
		if cmd.Flags().Changed(name) {
			return usagef("--%s is about images to make: want IMAGE, a controller's", name)
		}
	}
	if f.watch {
		return watchNodes(cmd, f.json)
	}
	return listNodes(cmd, f.json)
}

func runNodes(cmd *cobra.Command, f nodesFlags, image string) error {
	if err := named(cmd, "output"); err != nil {
		return err
	}
	o := provision.NodeOptions{Controller: image, Dir: f.dir, Sums: f.sums, Branded: f.branded}
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
	if len(f.only) > 0 {
		return onlyRoles(f.only)
	}
	return nodesUpTo(f.n), nil
}

// onlyRoles reads the roles of --only, one a word.
func onlyRoles(words []string) ([]node.Role, error) {
	var roles []node.Role
	for _, word := range words {
		role, err := node.ParseRole(strings.TrimSpace(word))
		if err != nil {
			return nil, usageError{err}
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// nodesUpTo returns the roles of the first n nodes.
func nodesUpTo(n int) []node.Role {
	var roles []node.Role
	for i := range n {
		roles = append(roles, node.ID(i+1).Role())
	}
	return roles
}
