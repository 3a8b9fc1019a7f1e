package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"github.com/spf13/cobra"
)

// say tells a person something on standard error, unless --quiet asks for silence.
func say(cmd *cobra.Command, format string, args ...any) {
	if quiet, _ := cmd.Flags().GetBool("quiet"); !quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	}
}

// afterBuild says which image goes on which card, and what to type next.
func afterBuild(cmd *cobra.Command, r provision.Result, branded bool) {
	all := slices.Concat(r.Files, r.Kept)
	if len(r.Files) == 0 {
		return
	}
	var nodes []node.ID
	var ofNode string // its image's name, with N for the number
	var controllers []provision.File
	for _, file := range all {
		role, err := node.ParseRole(file.Role)
		if err != nil || role.IsController() {
			controllers = append(controllers, file)
			continue
		}
		nodes, ofNode = append(nodes, role.ID), forAnyNode(file)
	}
	say(cmd, "")
	for _, c := range controllers {
		say(cmd, "%s is for the controller's card: %s", c.Name, networkOf(c.Role))
	}
	if len(nodes) > 0 {
		say(cmd, "%s is for the card of node N: the Pi at PN on the board", ofNode)
	}
	if len(controllers) > 1 {
		say(cmd, "Take one of the controller's images.")
	}
	say(cmd, "\nWrite the cards, by one of:")
	for _, command := range writeCards(r.Dir, all, nodes, branded) {
		say(cmd, "  %s", command)
	}
	say(cmd, "If Raspberry Pi Imager asks whether to apply customisation settings, answer no.")
	say(cmd, "\n%s", firstStart(nodes))
}

// forAnyNode is the name of a node's image with N in place of the number.
func forAnyNode(f provision.File) string {
	at := strings.LastIndex(f.Name, f.Role)
	return f.Name[:at] + "pN" + f.Name[at+len(f.Role):]
}

// networkOf says what a controller does for its nodes.
func networkOf(role string) string {
	if role == node.CNAT.String() {
		return "its nodes are behind its own address"
	}
	return "its nodes are in the network that its Ethernet port is in"
}

// writeCards are the commands that write images to cards.
func writeCards(dir string, all []provision.File, nodes []node.ID, branded bool) []string {
	first := quoted(filepath.Join(dir, all[0].Name))
	if branded {
		return []string{"sudo clusterctrl flash " + first + " /dev/sdX      # each image to its card; flash --list shows the cards"}
	}
	var roles []string
	if role, err := node.ParseRole(all[0].Role); err == nil && role.IsController() {
		roles = append(roles, all[0].Role) // one controller is enough
	}
	commands := []string{"sudo clusterctrl flash " + strings.Join(append(append([]string{first}, roles...), ranges(nodes)...), " ") + " --next"}
	if filepath.Ext(all[0].Name) == ".img" {
		commands = append(commands, "clusterctrl serve "+strings.Join(append([]string{first}, serveNodes(nodes)...), " ")+"      # for Raspberry Pi Imager")
	}
	return commands
}

func serveNodes(nodes []node.ID) []string {
	if len(nodes) == 0 {
		return nil
	}
	return []string{"--nodes", fmt.Sprint(int(slices.Max(nodes)))}
}

// ranges writes nodes as people do, such as p1-p4 p7.
func ranges(nodes []node.ID) []string {
	nodes = slices.Clone(nodes)
	slices.Sort(nodes)
	var words []string
	for len(nodes) > 0 {
		n := 1
		for n < len(nodes) && nodes[n] == nodes[n-1]+1 {
			n++
		}
		word := nodes[0].String()
		if n > 1 {
			word += "-" + nodes[n-1].String()
		}
		words, nodes = append(words, word), nodes[n:]
	}
	return words
}

// quoted returns a file's name as shells take it, with slashes on Windows too.
func quoted(name string) string { return defaults.Quote(filepath.ToSlash(name)) }

// firstStart says how a cluster is started, and what will be seen.
func firstStart(nodes []node.ID) string {
	if len(nodes) == 0 {
		return "Then put the controller's card in and give it power."
	}
	id := slices.Min(nodes)
	return fmt.Sprintf(`Then put all cards in, give the controller power, log in there, and type
  clusterctrl on %v
Its LED lights up. The node restarts once; after some two minutes
"clusterctrl status" shows its address, and "clusterctrl console %v" its login.`, id, id)
}

// afterFlash says what comes after cards were written.
func afterFlash(cmd *cobra.Command, targets []cardTarget) {
	var roles []node.Role
	for _, t := range targets {
		roles = append(roles, *t.role)
	}
	say(cmd, "%s", firstStart(nodesAmong(roles)))
}

// nodesAmong are the nodes among members of a cluster.
func nodesAmong(roles []node.Role) (ids []node.ID) {
	for _, role := range roles {
		if !role.IsController() {
			ids = append(ids, role.ID)
		}
	}
	return ids
}
