package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/controller/power"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const statusHelp = `Status shows each node that a board can switch or that is plugged in, and what the
boards report about themselves. A silent node has power, but is not seen on USB: it
is starting, is stuck, or has no card.

On a terminal, status prints a table; in a pipe, it prints a line key:value for each
fact, for scripts: maxpi:4, p1:1 (node 1 is on), u1:0 (node 1 does not boot over USB) ...

With --watch, status prints a line for each node that is switched, plugged in or
unplugged from now on. Boards do not tell when a node is switched; status asks them
every five seconds.

The exit status is 1 if a board did not answer. On a machine that is no controller,
status shows no nodes, and the exit status is 0.`

func statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show nodes, their power and their boards (on the controller)",
		Long:    statusHelp,
		Example: "  clusterctrl status\n  clusterctrl status | grep ^p1:\n  clusterctrl status --json\n  clusterctrl status --watch",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watchNodes(cmd, asJSON)
			}
			if _, err := findController(); asJSON && errors.As(err, new(noController)) {
				fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl:", err)
				return writeJSON(cmd.OutOrStdout(), status{Nodes: []cluster.Node{}, Boards: []power.Report{}})
			}
			return withBoards(cmd, false, func(c *controller) error { return c.status(cmd, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --watch an object a line")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print a line for each change from now on")
	addWide(cmd, statusOrder)
	return cmd
}

func maxpiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "maxpi",
		Short:   "Print how many nodes the boards have room for (on the controller)",
		Example: "  clusterctrl maxpi",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBoards(cmd, false, func(c *controller) error {
				return println(cmd.OutOrStdout(), strconv.Itoa(c.boards.MaxNodes()))
			})
		},
	}
}

// A status is what status shows.
type status struct {
	Nodes     []cluster.Node `json:"nodes"`
	Boards    []power.Report `json:"boards"`
	MaxNodes  int            `json:"max_nodes"`
	Throttled string         `json:"throttled"` // as vcgencmd get_throttled says it
	Revision  string         `json:"pi_revision"`
}

func (c *controller) status(cmd *cobra.Command, asJSON bool) error {
	s := status{
		Nodes: []cluster.Node{}, Boards: []power.Report{}, MaxNodes: c.boards.MaxNodes(),
		Throttled: power.Throttled(), Revision: c.machine.Revision(),
	}
	silent := 0
	for _, b := range c.boards {
		report, err := b.Report()
		if err != nil {
			silent++
			fmt.Fprintf(cmd.ErrOrStderr(), "clusterctrl: %v: %v\n", b, needRights(err))
		}
		s.Boards = append(s.Boards, report)
	}
	nodes, err := c.nodes()
	if err != nil {
		return err
	}
	s.Nodes = append(s.Nodes, nodes...)
	switch {
	case asJSON:
		err = writeJSON(cmd.OutOrStdout(), s)
	case cmd.OutOrStdout() == os.Stdout && term.IsTerminal(int(os.Stdout.Fd())):
		complain(cmd.ErrOrStderr(), s.Nodes)
		err = s.writeTables(cmd.OutOrStdout(), tableWidth(cmd))
	default:
		err = s.writeKeys(cmd.OutOrStdout())
	}
	if err == nil && silent > 0 {
		err = fmt.Errorf("%d of %d boards did not answer", silent, len(c.boards))
	}
	return err
}

// writeKeys writes a line key:value for each fact.
func (s status) writeKeys(w io.Writer) error {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s:%v\n", key, value) }
	line("maxpi", s.MaxNodes)
	if s.Throttled != "" {
		line("throttled", s.Throttled)
	}
	if s.Revision != "" {
		line("pirevision", s.Revision)
	}
	for _, r := range s.Boards {
		for _, f := range facts(r) {
			line(f.key, f.value)
		}
	}
	for _, n := range s.Nodes {
		if n.Power == cluster.On || n.Power == cluster.Silent {
			line(n.ID.String(), 1)
		} else if n.Power == cluster.Off {
			line(n.ID.String(), 0)
		}
	}
	first := 1 // node of the board
	for _, r := range s.Boards {
		for x := range r.Nodes {
			line(fmt.Sprint("u", first+x), digit(x < len(r.USBBoot) && *r.USBBoot[x]))
		}
		first += r.Nodes
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type fact struct {
	key   string
	value any
}

// facts are what a board says of itself, by the keys that scripts know.
func facts(r power.Report) (all []fact) {
	add := func(key string, value any) { all = append(all, fact{key, value}) }
	flag := func(key string, value *bool) {
		if value != nil {
			add(key, digit(*value))
		}
	}
	if r.Kind == power.KindHAT {
		major, minor, _ := strings.Cut(r.Version, ".")
		add("hat_version", r.Version)
		add("hat_version_major", major)
		add("hat_version_minor", minor)
		add("hat_size", r.Nodes)
		for _, key := range []string{"uuid", "vendor", "product_id"} {
			if r.EEPROM[key] != "" {
				add("hat_"+key, r.EEPROM[key])
			}
		}
		flag("hat_alert", r.Alert)
		flag("hat_hub", r.Hub)
		flag("hat_led", r.LED)
		flag("hat_wp", r.Protected)
		flag("hat_wplink", r.ProtectLink)
		return all
	}
	prefix := fmt.Sprintf("ctrl%d_", r.Order)
	if r.Firmware != "" {
		add(prefix+"fw", r.Firmware)
	}
	for i, mV := range r.Millivolts {
		add(fmt.Sprintf("%sadc%d", prefix, i+1), fmt.Sprintf("%.0fmV", mV))
	}
	if r.Temperature != nil {
		add(prefix+"temp", fmt.Sprintf("%.2fC", *r.Temperature))
	}
	flag(prefix+"fan", r.Fan)
	return all
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Columns that give way on a narrow terminal, the first one first.
var statusOrder = []string{"SINCE", "BOARD", "LINK", "CONSOLE", "VERSION", "TEMPERATURE", "VOLTAGE"}

// writeTables writes the nodes, then the boards, for people, in width columns.
func (s status) writeTables(w io.Writer, width int) error {
	nodes := [][]string{{"NODE", "BOARD", "POWER", "LINK", "CONSOLE", "ADDRESS", "SINCE"}}
	for _, n := range s.Nodes {
		link := ""
		if n.IsPlugged() {
			link = string(n.LinkState)
		}
		board, _, _ := strings.Cut(n.Board, " (")
		nodes = append(nodes, []string{n.ID.String(), board, string(n.Power), link, n.Serial, joinAddrs(n.Addresses), since(n)})
	}
	boards := [][]string{{"BOARD", "NODES", "VERSION", "VOLTAGE", "TEMPERATURE", "FAN"}}
	for _, r := range s.Boards {
		boards = append(boards, []string{r.Board, strconv.Itoa(r.Nodes), r.Version + r.Firmware, volts(r.Millivolts), celsius(r.Temperature), onOffWord(r.Fan)})
	}
	err := writeRows(w, fit(nodes, statusOrder, width))
	if err == nil && len(s.Boards) > 0 {
		err = errors.Join(println(w, ""), writeRows(w, fit(boards, statusOrder[4:], width)))
	}
	if err != nil || s.Throttled == "" {
		return err
	}
	return println(w, "\nthrottled: "+s.Throttled)
}

func volts(all []float64) string {
	var words []string
	for _, mV := range all {
		words = append(words, fmt.Sprintf("%.2f V", mV/1000))
	}
	return strings.Join(words, ", ")
}

func celsius(degrees *float64) string {
	if degrees == nil {
		return ""
	}
	return fmt.Sprintf("%.1f C", *degrees)
}

func onOffWord(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "on"
	}
	return "off"
}
