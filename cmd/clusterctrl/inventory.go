package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// pluggedNodes are the nodes that are plugged in here, each once; none on a machine that
// is no controller.
func pluggedNodes() (ids []node.ID) {
	nodes, err := cluster.Nodes()
	if err != nil {
		return nil // such as on another system than Linux
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.ID.String())
	}
	if ids, err = node.ParseSet(names, nil); err != nil {
		return nil
	}
	return ids
}

// wantedNodes are the nodes that words name, or those that are plugged in.
func wantedNodes(words []string) ([]node.ID, error) {
	plugged := pluggedNodes()
	if len(words) == 0 {
		if len(plugged) == 0 {
			return nil, usagef("no node is plugged in here: want NODES, such as p1-p4")
		}
		return plugged, nil
	}
	return node.ParseSet(words, plugged)
}

// nodesOrNone takes sets of nodes, or nothing.
func nodesOrNone(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return nodeSets(1)(cmd, args)
}

const sshConfigHelp = `Ssh-config prints a part of a configuration for ssh (ssh_config(5)), with which "ssh p7",
scp, rsync, pdsh and others reach nodes from another computer, through the controller.
Put it into a file, and an Include line into ~/.ssh/config.

NODES are those that are plugged in, unless some are named. --controller is the
controller's name or address as that computer knows it, with its user, such as
anna@cnat.local; without it, the configuration is for the controller itself.`

const sshConfigExample = `  # on the controller
  clusterctrl ssh-config p1-p4 --user anna >>~/.ssh/config

  # on a laptop
  clusterctrl ssh-config p1-p4 --user anna --controller anna@cnat.local >~/.ssh/cluster`

func sshConfigCommand() *cobra.Command {
	var user, controller string
	cmd := &cobra.Command{
		Use:               "ssh-config [NODES]",
		Short:             "Print how ssh reaches nodes, from here or through the controller",
		Long:              sshConfigHelp,
		Example:           sshConfigExample,
		Args:              nodesOrNone,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := wantedNodes(args)
			if err != nil {
				return err
			}
			return writeSSHConfig(cmd.OutOrStdout(), ids, user, controller)
		},
	}
	cmd.Flags().StringVarP(&user, "user", "l", "", "log in to nodes as `NAME` (default: as ssh does)")
	cmd.Flags().StringVar(&controller, "controller", "", "go through the controller at `[USER@]HOST`")
	return cmd
}

func writeSSHConfig(w io.Writer, ids []node.ID, user, controller string) error {
	var b strings.Builder
	b.WriteString("# Nodes of a cluster, written by \"clusterctrl ssh-config\".\n")
	for _, id := range ids {
		fmt.Fprintf(&b, "Host %v\n\tHostName %v\n\tHostKeyAlias %v\n", id, id.Addr(), id)
		b.WriteString("\tCheckHostIP no\n\tStrictHostKeyChecking accept-new\n")
		if user != "" {
			fmt.Fprintf(&b, "\tUser %s\n", user)
		}
		if controller != "" {
			fmt.Fprintf(&b, "\tProxyJump %s\n", controller)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const inventoryHelp = `Inventory prints the nodes for other programs, as FORMAT: "ansible", an inventory file of
Ansible; "hosts", lines for /etc/hosts; or "json". NODES are those that are plugged in,
unless some are named.

It is an inventory script of Ansible too, which asks it with --list and --host: under the
name clusterctrl-inventory, or from a script of one line. Its nodes are those that are
plugged in then.`

const inventoryExample = `  clusterctrl inventory p1-p4 --format ansible >nodes.ini
  clusterctrl inventory --format hosts | sudo tee -a /etc/hosts

  # Ansible asks for the nodes each time
  ln -s "$(command -v clusterctrl)" clusterctrl-inventory
  ansible all -i ./clusterctrl-inventory -m ping`

// inventoryName is the name of the program under which Ansible calls it.
const inventoryName = "clusterctrl-inventory"

func inventoryCommand() *cobra.Command {
	var format, user, host string
	var list bool
	cmd := &cobra.Command{
		Use:               "inventory [NODES]",
		Short:             "Print the nodes for Ansible and other programs",
		Long:              inventoryHelp,
		Example:           inventoryExample,
		Args:              nodesOrNone,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			if host != "" {
				return writeJSON(w, struct{}{}) // all is in the answer to --list
			}
			if list && len(args) == 0 {
				return writeJSON(w, ansibleList(pluggedNodes(), user))
			}
			ids, err := wantedNodes(args)
			if err != nil {
				return err
			}
			if list {
				return writeJSON(w, ansibleList(ids, user))
			}
			return writeInventory(w, ids, format, user)
		},
	}
	cmd.Flags().StringVar(&format, "format", "json", "print as `FORMAT`: ansible, hosts or json")
	cmd.Flags().StringVarP(&user, "user", "l", os.Getenv("CLUSTERCTRL_USER"), "have Ansible log in as `NAME` (default: CLUSTERCTRL_USER, or as ssh does)")
	cmd.Flags().BoolVar(&list, "list", false, "answer Ansible: all nodes, as JSON")
	cmd.Flags().StringVar(&host, "host", "", "answer Ansible: the variables of a `NODE`, as JSON")
	cmd.MarkFlagsMutuallyExclusive("format", "list", "host")
	cmd.Flags().Lookup("user").DefValue = ""
	complete(cmd, "format", "ansible", "hosts", "json")
	return cmd
}

// A listedNode is a node in an inventory.
type listedNode struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	HostKeyAlias string `json:"host_key_alias"`
	Console      string `json:"console"` // of the controller
}

func writeInventory(w io.Writer, ids []node.ID, format, user string) error {
	var b strings.Builder
	switch format {
	case "hosts":
		for _, id := range ids {
			fmt.Fprintf(&b, "%v\t%v\n", id.Addr(), id)
		}
	case "ansible":
		b.WriteString("[nodes]\n")
		for _, id := range ids {
			vars := ansibleVars(id, user)
			fmt.Fprintf(&b, "%v", id)
			for _, key := range []string{"ansible_host", "ansible_user", "ansible_ssh_common_args"} {
				if vars[key] != "" {
					fmt.Fprintf(&b, " %s='%s'", key, vars[key])
				}
			}
			b.WriteString("\n")
		}
	case "json":
		nodes := []listedNode{}
		for _, id := range ids {
			nodes = append(nodes, listedNode{id.String(), id.Addr().String(), id.String(), "/dev/" + id.Port()})
		}
		return writeJSON(w, nodes)
	default:
		return usagef("--format %q: want ansible, hosts or json", format)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ansibleVars are what Ansible has to know of a node.
func ansibleVars(id node.ID, user string) map[string]string {
	vars := map[string]string{
		"ansible_host":            id.Addr().String(),
		"ansible_ssh_common_args": strings.Join(hostOptions(id), " "),
	}
	if user != "" {
		vars["ansible_user"] = user
	}
	return vars
}

// ansibleList is what an inventory script answers to --list.
func ansibleList(ids []node.ID, user string) map[string]any {
	hosts, vars := []string{}, map[string]any{}
	for _, id := range ids {
		hosts = append(hosts, id.String())
		vars[id.String()] = ansibleVars(id, user)
	}
	return map[string]any{
		"nodes": map[string]any{"hosts": hosts},
		"_meta": map[string]any{"hostvars": vars},
	}
}
