package main

import (
	"slices"
	"strings"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// completeNode completes the first argument to a node: to one that is plugged in,
// or to any node where none is plugged in.
func completeNode(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	nodes, _ := cluster.Nodes() // there is no place to say what fails
	return nodeNames(typed, nodes), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeNodes completes any argument to a node, whether it is plugged in or not.
func completeNodes(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	names := append([]string{node.All}, allNames()...)
	return matching(typed, names), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeRole completes the first argument to what a Pi can be.
func completeRole(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	roles := append([]string{node.CBridge.String(), node.CNAT.String()}, allNames()...)
	return matching(typed, roles), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// nodeNames are the names that the typed letters can become: names of nodes that are
// plugged in, or of any nodes where none is.
func nodeNames(typed string, plugged []cluster.Node) []string {
	var names []string
	for _, n := range plugged {
		names = append(names, n.ID.String())
	}
	if names = matching(typed, slices.Compact(names)); len(names) > 0 {
		return names
	}
	return matching(typed, allNames())
}

func allNames() (names []string) {
	for id := node.MinID; id <= node.MaxID; id++ {
		names = append(names, id.String())
	}
	return names
}

func matching(typed string, names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, typed) })
}
