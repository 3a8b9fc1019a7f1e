package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// listNodes prints what is plugged in, and which nodes are on and silent.
func listNodes(cmd *cobra.Command, asJSON bool) error {
	nodes := []cluster.Node{} // in JSON too
	c, err := thisController(cmd)
	if err != nil {
		return err
	}
	if c != nil {
		found, err := c.look(cmd)
		if err != nil {
			return err
		}
		for _, n := range found {
			if n.IsPlugged() || n.Power == cluster.Silent {
				nodes = append(nodes, n)
			}
		}
		if len(nodes) == 0 {
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
	return writeTable(cmd.OutOrStdout(), nodes, tableWidth(cmd))
}

// look returns each node that is plugged in or that a board switches. Where it may not
// ask the boards, it only says so: any user may see which nodes are plugged in.
func (c *controller) look(cmd *cobra.Command) ([]cluster.Node, error) {
	if err := c.open(); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", err)
	}
	defer c.boards.Close()
	return c.nodes()
}

// complain names the nodes whose names other nodes have too.
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

// Columns of "nodes" that give way on a narrow terminal, the first one first.
var nodesOrder = []string{"MAC", "SINCE", "BRIDGE", "LINK", "BOOT", "USB", "INTERFACE", "SERIAL", "ADDRESS"}

func writeTable(w io.Writer, nodes []cluster.Node, width int) error {
	rows := [][]string{{"NODE", "POWER", "USB", "BOOT", "INTERFACE", "BRIDGE", "LINK", "MAC", "ADDRESS", "SERIAL", "SINCE"}}
	for _, n := range nodes {
		rows = append(rows, columns(n))
	}
	return writeRows(w, fit(rows, nodesOrder, width))
}

func columns(n cluster.Node) []string {
	all := []string{n.ID.String(), string(n.Power), n.USBPath, string(n.Boot), n.Interface, n.Bridge, string(n.LinkState), n.MAC,
		joinAddrs(n.Addresses), n.Serial, since(n)}
	return all
}

func since(n cluster.Node) string {
	if n.Since.IsZero() {
		return ""
	}
	return n.Since.Local().Format(time.DateTime)
}

// dashes fills what is empty in a row of a table.
func dashes(row []string) []string {
	for i, text := range row {
		if text == "" {
			row[i] = "-"
		}
	}
	return row
}

func joinAddrs(addrs []netip.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, ",")
}

// pace is the time between two looks at the boards, which do not tell when a node is
// switched.
const pace = 5 * time.Second

// watchNodes prints a line for each node that is plugged in, unplugged or switched.
func watchNodes(cmd *cobra.Command, asJSON bool) error {
	c, err := thisController(cmd)
	if c == nil || err != nil {
		return err
	}
	if err := c.open(); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", err)
	}
	defer c.boards.Close()
	err = cluster.Watch(cmd.Context(), c.boards.Supplies, pace, func(e cluster.Event) error {
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
		}
		return println(cmd.OutOrStdout(), eventLine(e))
	})
	if cmd.Context().Err() != nil {
		return nil // Ctrl-C is how a watch ends
	}
	return err
}

func eventLine(e cluster.Event) string {
	n := e.Node
	if e.Kind == cluster.SwitchedOn || e.Kind == cluster.SwitchedOff {
		return fmt.Sprintf("%s  %-9s  %-4v  %s", e.Time.Local().Format(time.DateTime), e.Kind, n.ID, n.Board)
	}
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
