//go:build !linux

package main

import (
	"errors"

	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// errNoController is why nothing can be done with the roots of nodes: controllers run Linux.
var errNoController = errors.New("this is no controller")

func (*controller) addRoots(*cobra.Command, []node.ID, string, bool) error { return errNoController }
func (*controller) removeRoots(*cobra.Command, []node.ID, bool) error      { return errNoController }
func (*controller) brandRoot(*cobra.Command, node.ID, bool) error          { return errNoController }
func (*controller) listRoots(*cobra.Command, bool) error                   { return errNoController }
func (*controller) examine(*cobra.Command, bool) error                     { return errNoController }
