package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const usbbootHelp = `Usbboot is about nodes without cards: they start over USB from the controller, which
keeps the root of each in a directory, /var/lib/clusterctrl/nfs/p<n>, and exports it to
that node alone, over NFS. Such a root comes from an archive that "clusterctrl build
--usbboot" made.

On boards that can tell nodes to start over USB, "on" and "off" do so.`

const usbbootExample = `  # make p5 and p6 nodes without cards, and start them
  sudo clusterctrl usbboot add p5,p6 *-usbboot.tar.zst
  clusterctrl on p5 p6

  # how far they are, and what is missing where they do not start
  sudo clusterctrl usbboot list
  sudo clusterctrl usbboot doctor`

func usbbootCommand() *cobra.Command {
	cmd := featureCommand("usbboot {on | off} NODES", "Have nodes start from their controller, without a card, or not",
		usbbootExample, nodeSets(1),
		func(_ *cobra.Command, c *controller, on bool, args []string) error {
			ids, err := c.parseNodes(args)
			if err != nil {
				return err
			}
			return c.setNodes(ids, power.USBBoot, on)
		})
	cmd.Long = usbbootHelp
	feature := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] != "on" && args[0] != "off" {
			return usagef("usbboot: want add, list, remove, init, doctor, on or off")
		}
		return feature(cmd, args)
	}
	cmd.AddCommand(usbbootAddCommand(), usbbootListCommand(), usbbootRemoveCommand(), usbbootInitCommand(), usbbootDoctorCommand(), usbbootInitramfsCommand())
	return cmd
}

const usbbootAddHelp = `Add unpacks ARCHIVE as the root of each of NODES, gives each its name, addresses and
identity, and makes the links by which the nodes find their boot files. Until all that
is done, no node has any of it. Where the file system can (btrfs, XFS), the roots share
the blocks that are the same.

It turns on the service that gives out boot files. Where the controller has no NFS
server, add says how to install one: nothing else is left to do then.

NFS knows a node by its address alone: a machine in the nodes' network that takes the
address of another can read and change that one's root.`

func usbbootAddCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "add NODES... ARCHIVE",
		Short:   "Make nodes without cards from an archive (on the controller)",
		Long:    usbbootAddHelp,
		Example: "  sudo clusterctrl usbboot add p5 2025-05-13-1-bookworm-ClusterCTRL-arm64-lite-usbboot.tar.zst\n  sudo clusterctrl usbboot add p5-p8 --force usbboot.tar.zst",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("usbboot add: got %d arguments: want nodes, such as p5 or p5-p8, and an archive", len(args))
			}
			return nodeSets(1)(cmd, args[:len(args)-1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			ids, err := node.ParseSet(args[:last], nil)
			if err != nil {
				return usageError{err}
			}
			return onRoots(cmd, func(c *controller) error { return c.addRoots(cmd, ids, args[last], force) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace roots that exist, also of nodes that run")
	return cmd
}

func usbbootListCommand() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the nodes without cards, and how far they are (on the controller)",
		Long: `List shows each node that has a root here: its system, the size of the root, the USB
path that its board gives, and how far the node is:

  off           it has no power
  on            it has power and does not show on USB
  enumerated    it waits for the first boot file
  boot files    it fetches firmware, or its kernel
  started       its kernel runs
  root mounted  its system starts, and it has no console here
  console       its system starts, and /dev/ttypi<n> is its console
  ssh           it lets users in`,
		Example: "  sudo clusterctrl usbboot list\n  sudo clusterctrl usbboot list --json",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onRoots(cmd, func(c *controller) error { return c.listRoots(cmd, json) })
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}

func usbbootRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "remove NODES...",
		Short:             "Delete the roots of nodes without cards (on the controller)",
		Long:              "Remove deletes the root of each of NODES, with all that the node has written to it.",
		Example:           "  sudo clusterctrl usbboot remove p5",
		Args:              nodeSets(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := node.ParseSet(args, nil)
			if err != nil {
				return usageError{err}
			}
			return onRoots(cmd, func(c *controller) error { return c.removeRoots(cmd, ids, force) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove roots of nodes that run, too")
	return cmd
}

const usbbootInitHelp = `Init gives the root of node N its name, addresses and identity anew, such as after its
directory was copied from another node's, and makes the links to the boot files. It
changes nothing where all is as it should be. No program of that root runs. On a machine
that is no controller, it does nothing, and the exit status is 0.

Its old names are usbboot-init N and reconfig-usbboot N.`

func usbbootInitCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "init N",
		Short:   "Give the root of a node without a card its identity anew (on the controller)",
		Long:    usbbootInitHelp,
		Example: "  sudo clusterctrl usbboot init 5\n  sudo usbboot-init 5",
		Args:    exactly(1, "N, the number of a node, 1 to 252"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := node.ParseID("p" + strings.TrimPrefix(args[0], "p"))
			if err != nil {
				return usageError{err}
			}
			if c, err := thisController(cmd); c == nil || err != nil {
				return err // scripts run its old names on any machine
			}
			return onRoots(cmd, func(c *controller) error { return c.brandRoot(cmd, id, force) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do it while the node runs, too")
	return cmd
}

const usbbootDoctorHelp = `Doctor checks what nodes without cards need of their controller: the NFS server, what it
exports, the bridge and VLANs between them, the service of boot files, firmware, of each
root its identity, its boot files and the link to them, and that a node can use its own
address alone. For each problem it says what to do.

Exit status: 0, 1 if nodes cannot start, 2 if the command line is wrong.`

func usbbootDoctorCommand() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Say why nodes without cards do not start (on the controller)",
		Long:    usbbootDoctorHelp,
		Example: "  sudo clusterctrl usbboot doctor",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onRoots(cmd, func(c *controller) error { return c.examine(cmd, json) })
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}

const usbbootInitramfsHelp = `Initramfs, on a node without a card, makes what the node starts from anew for each kernel
that is installed, or for the kernels of RELEASE's flavour. The system runs it when a
kernel comes or goes, with the kernel's FILE as a further word, which does not matter.`

func usbbootInitramfsCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:     "initramfs [RELEASE [FILE]]",
		Short:   "Make the initramfs of a node without a card anew (on that node)",
		Long:    usbbootInitramfsHelp,
		Example: "  sudo clusterctrl usbboot initramfs\n  sudo clusterctrl usbboot initramfs 6.12.25+rpt-rpi-v8",
		Args:    arguments(0, 2, "the release of a kernel, as uname -r prints it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := makeInitramfs(root, strings.Join(args[:min(len(args), 1)], ""))
			if err != nil && onCard(root, "/proc/cmdline") {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", err)
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root", "/", "the node's tree is in the directory `DIR`")
	completeDir(cmd, "root")
	return cmd
}

// onRoots does something with the roots of nodes without cards, as root, on a controller.
func onRoots(cmd *cobra.Command, do func(*controller) error) error {
	c, err := onController(cmd)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the roots of nodes are root's: run it with sudo")
	}
	if err := c.open(); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", err)
	}
	defer c.boards.Close()
	return do(c)
}
