package main

import (
	"errors"
	"slices"

	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const nodesHelp = `Nodes, on a controller, lists the nodes that are plugged in: where, how they booted,
their network card and serial console here, and since when. What is missing is shown
as "-". An address besides 172.19.181.n is known once the controller has talked to the
node there. Where two nodes have the same number, the list says which of them has the
names.

Images of more nodes are made by "clusterctrl build", from a controller's image.`

const nodesExample = `  # what is plugged in; then what comes and goes, until Ctrl-C
  clusterctrl nodes
  clusterctrl nodes --watch`

func nodesCommand() *cobra.Command {
	var watch, json bool
	cmd := &cobra.Command{
		Use:     "nodes [--watch]",
		Short:   "List the nodes that are plugged in",
		Long:    nodesHelp,
		Example: nodesExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return makesNoImages(args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watchNodes(cmd, json)
			}
			return listNodes(cmd, json)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&watch, "watch", "w", false, "print a line for each node plugged in or unplugged from now on")
	fl.BoolVar(&json, "json", false, "print JSON; with --watch an object a line")
	addWide(cmd, nodesOrder)
	cmd.SetFlagErrorFunc(nodesFlagError)
	return cmd
}

// nodesFlagError says what to type instead of the flags that nodes had when it made
// images too.
func nodesFlagError(cmd *cobra.Command, err error) error {
	moved := []string{"nodes", "n", "only", "output", "o", "force", "keep", "sums", "no-sums", "branded"}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && slices.Contains(moved, unknown.GetSpecifiedName()) {
		return makesNoImages("IMAGE")
	}
	return cmd.Parent().FlagErrorFunc()(cmd, err)
}

// makesNoImages says to those who want more images what to type.
func makesNoImages(image string) error {
	if _, err := node.ParseSet([]string{image}, nil); err == nil || image == "" {
		image = "IMAGE"
	}
	return usagef("nodes lists what is plugged in: for images of more nodes, type \"clusterctrl build %s --only p5,p6\"", image)
}
