package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"github.com/spf13/cobra"
)

// controllerType returns TYPE of the controller that this machine is. On one that
// is none it says so and returns nothing: what scripts run on any machine is no
// error there.
func controllerType(cmd *cobra.Command) (string, error) {
	settings, err := defaults.Read(node.SettingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(cmd.ErrOrStderr(), "clusterctrl: this is no controller: no %s\n", node.SettingsFile)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	kind, err := settings.Value("TYPE")
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", node.SettingsFile, err)
	case kind == node.CBridge.Type() || kind == node.CNAT.Type():
		return kind, nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "clusterctrl: this is no controller: TYPE=%s in %s\n", kind, node.SettingsFile)
	return "", nil
}

// listNodes prints what is plugged in.
func listNodes(cmd *cobra.Command, asJSON bool) error {
	nodes := []cluster.Node{} // in JSON too
	kind, err := controllerType(cmd)
	if err != nil {
		return err
	}
	if kind != "" {
		found, err := cluster.Nodes()
		if err != nil {
			return err
		}
		if nodes = append(nodes, found...); len(nodes) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl: no node is plugged in, or none is powered and has started")
		}
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), nodes)
	}
	if len(nodes) == 0 {
		return nil
	}
	complain(cmd.ErrOrStderr(), nodes)
	return writeTable(cmd.OutOrStdout(), nodes)
}

// complain names the nodes that others have the names of.
func complain(w io.Writer, nodes []cluster.Node) {
	for _, n := range nodes {
		if n.OtherHolds {
			fmt.Fprintf(w, "warning: %v is there twice: the one at USB path %s has the name, the one at %s has not: give one of them another number\n",
				n.ID, holder(nodes, n.ID).USBPath, n.USBPath)
		}
	}
}

func holder(nodes []cluster.Node, id node.ID) (holder cluster.Node) {
	for _, n := range nodes {
		if n.ID == id && !n.OtherHolds {
			return n
		}
	}
	return holder
}

func writeTable(w io.Writer, nodes []cluster.Node) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tUSB\tBOOT\tINTERFACE\tBRIDGE\tLINK\tMAC\tADDRESS\tSERIAL\tSINCE")
	for _, n := range nodes {
		fmt.Fprintln(table, strings.Join(columns(n), "\t"))
	}
	return table.Flush()
}

func columns(n cluster.Node) []string {
	since := ""
	if !n.Since.IsZero() {
		since = n.Since.Local().Format(time.DateTime)
	}
	all := []string{n.ID.String(), n.USBPath, string(n.Boot), n.Interface, n.Bridge, string(n.LinkState), n.MAC,
		joinAddrs(n.Addresses), n.Serial, since}
	for i, text := range all {
		if text == "" {
			all[i] = "-"
		}
	}
	return all
}

func joinAddrs(addrs []netip.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, ",")
}

// watchNodes prints a line for each node that is plugged in or unplugged.
func watchNodes(cmd *cobra.Command, asJSON bool) error {
	if kind, err := controllerType(cmd); err != nil || kind == "" {
		return err
	}
	return cluster.Watch(cmd.Context(), func(e cluster.Event) error {
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
		}
		return println(cmd.OutOrStdout(), eventLine(e))
	})
}

func eventLine(e cluster.Event) string {
	n := e.Node
	line := fmt.Sprintf("%s  %-9s  %-4v  %s", e.Time.Local().Format(time.DateTime), e.Kind, n.ID, n.USBPath)
	if e.Kind == cluster.Unplugged {
		return line
	}
	for _, text := range []string{string(n.Boot), n.Interface, joinAddrs(n.Addresses), n.Serial} {
		if text == "" {
			text = "-"
		}
		line += "  " + text
	}
	if n.OtherHolds {
		line += "  (another " + n.ID.String() + " has the name)"
	}
	return line
}
