package main

import (
	"slices"
	"strings"

	"clusterctrl/internal/cluster"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// completeNode completes the first argument to a node: to those that are plugged
// in, or to any where none is.
func completeNode(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := matching(typed, pluggedNames())
	if len(names) == 0 {
		names = matching(typed, allNames())
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeRole completes the first argument to what a Pi can be.
func completeRole(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	roles := append([]string{node.CBridge.String(), node.CNAT.String()}, allNames()...)
	return matching(typed, roles), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func pluggedNames() (names []string) {
	nodes, err := cluster.Nodes()
	if err != nil {
		return nil // there is no place to say so
	}
	for _, n := range nodes {
		names = append(names, n.ID.String())
	}
	return slices.Compact(names)
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
