package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"text/tabwriter"

	"clusterctrl/internal/image/payload"
	"clusterctrl/internal/lab"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
)

const labHelp = `Lab runs a whole cluster on this computer: a controller and nodes that QEMU
emulates, from the images that "clusterctrl build" made, with a virtual USB cable
between the controller and each node. The controller sees ethpi1, ttypi1 and so on,
as with real boards.`

const labUpHelp = `Up starts a machine for each IMAGE and connects every node with the controller, if
one of the images is a controller's. It runs until "clusterctrl lab down" or
Ctrl-C; use another terminal meanwhile. The images are not changed: machines write
to copies, which are thrown away.

The controller has a board that switches the nodes' power. As with a real board, nodes
are off until you type "clusterctrl on p1" on the controller; with --on, all nodes are
on from the start. If no node is above p4, the board is a ClusterHAT, else there are as
many ClusterCTRL boards as reach the highest node; --board chooses. Without a
controller, or with --board none, nodes are on.

A machine restarts twice before it has its role, or once if its image was built with
--branded. On an emulated machine, that takes minutes.

A node of --bare has no card. Like a Zero 2 W without one, it asks the controller for
boot files over its USB cable whenever it starts, and then runs the kernel that it was
given, with that kernel's command line and initramfs; where that kernel lacks drivers,
another runs instead. The controller gives what "clusterctrl usbboot add" or "disk add"
has made for the node.

The machines need a Linux kernel for arm64 with drivers for QEMU and for both ends of
virtual USB: Raspberry Pi OS's kernel lacks these drivers, Debian's has them. Where the
images hold no such kernel, give the directory of an unpacked one:

  dpkg-deb -x linux-image-*.deb kernel
  clusterctrl lab up --kernel kernel out/*-CNAT.img out/*-p*.img`

const labUpExample = `  clusterctrl lab up --kernel kernel out/*-CNAT.img out/*-p[1-4].img

  # in another terminal
  clusterctrl lab console cnat       # then, in there: sudo clusterctrl on p1
  clusterctrl lab unplug p2
  clusterctrl lab cut p1             # cuts the power of p1
  clusterctrl lab down

  # p5 to p8 without cards, which boot over USB
  clusterctrl lab up --kernel kernel out/*-CNAT.img --bare p5-p8`

func labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lab",
		Short:   "Run a whole virtual cluster on this computer (needs QEMU)",
		Long:    labHelp,
		Example: labUpExample,
		Args:    cobra.ArbitraryArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args[0])
		}
		return usagef("lab: want up, status, console or another of its commands")
	}
	cmd.AddCommand(labUpCommand(), labStatusCommand(), labDownCommand(), labConsoleCommand())
	cmd.AddCommand(
		labVerb(lab.AskOn, "MACHINE", "Switch a machine on", labOnHelp),
		labVerb(lab.AskCut, "MACHINE", "Cut the power of a machine", labCutHelp),
		labVerb(lab.AskPlug, "NODE", "Plug a node into the controller", labPlugHelp),
		labVerb(lab.AskUnplug, "NODE", "Pull a node's plug", labUnplugHelp),
	)
	return cmd
}

type labFlags struct {
	kernel, board string
	bare          []string
	memory        int
	on            bool
}

func labUpCommand() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:     "up IMAGE...",
		Short:   "Start a virtual cluster",
		Long:    labUpHelp,
		Example: labUpExample,
		Args:    arguments(1, math.MaxInt, "IMAGE, one or more"),
		RunE:    func(cmd *cobra.Command, args []string) error { return labUp(cmd, f, args) },
	}
	cmd.Flags().StringVar(&f.kernel, "kernel", "", "start the kernel in `DIR`, an unpacked package of Debian's linux-image-arm64")
	completeDir(cmd, "kernel")
	cmd.Flags().IntVar(&f.memory, "memory", 512, "give each machine `MIB` of memory")
	cmd.Flags().StringVar(&f.board, "board", "", "give the controller a `BOARD` that switches the nodes: hat, ctrl or none (default: hat up to p4, else ctrl)")
	complete(cmd, "board", lab.HAT, lab.CTRL, lab.Mains)
	cmd.Flags().StringSliceVar(&f.bare, "bare", nil, "add `NODES` without cards, such as p5,p6 or p5-p8")
	cmd.Flags().BoolVar(&f.on, "on", false, "switch all nodes on at the start")
	return cmd
}

func labUp(cmd *cobra.Command, f labFlags, images []string) error {
	if err := named(cmd, "kernel"); err != nil {
		return err
	}
	bare, err := node.ParseSet(f.bare, nil)
	if err != nil {
		return usagef("--bare: %w", err)
	}
	warning, err := lab.CheckMemory(f.memory, len(images)+len(bare))
	if err != nil {
		return usagef("--memory %d: %w", f.memory, err)
	}
	if warning != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s: see --memory\n", warning)
	}
	supply, err := lab.ParseSupply(f.board)
	if err != nil {
		return usagef("--board %q: %w", f.board, err)
	}
	members, err := lab.ReadMembers(cmd.Context(), images, f.memory)
	if err != nil {
		return err
	}
	if members, err = lab.AddBare(members, bare, f.memory); err != nil {
		return err
	}
	programs, err := payload.Programs(rootfs.ARM64)
	if err != nil {
		return err
	}
	say(cmd, "in another terminal: clusterctrl lab console %s (press Enter; ~. ends it); a login takes some minutes here", members[0].Name)
	var mu sync.Mutex
	return lab.Up(cmd.Context(), f.kernel, lab.RigConfig{
		Members: members, Init: programs[node.Program], Supply: supply, On: f.on,
		Say: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(cmd.OutOrStdout(), strings.ReplaceAll(line, "\n", "; ")) // a message of QEMU may have several lines
		},
	})
}

func labAsk(q lab.Request) (lab.Reply, io.ReadWriteCloser, error) {
	socket, err := lab.Socket()
	if err != nil {
		return lab.Reply{}, nil, err
	}
	return lab.Ask(socket, q)
}

const (
	labOnHelp = `On switches a machine on again, after "lab cut" or after its system switched it off.
To one that is on, it does nothing.`

	labCutHelp = `Cut takes the power from a machine at once: data that its system has not written yet
is lost. "lab on" switches the machine on again.`

	labPlugHelp = `Plug puts a node's USB cable into the controller, after "lab unplug". When a cluster
starts, all cables are in.`

	labUnplugHelp = `Unplug pulls a node's USB cable out of the controller. The node stays on: unlike a real
node, it does not get its power by that cable.`
)

// labVerb makes a command that does something to a machine or a node, as what says.
func labVerb(do, what, short, long string) *cobra.Command {
	return &cobra.Command{
		Use:               do + " " + what + "...",
		Short:             short,
		Long:              long,
		Example:           "  clusterctrl lab " + do + " p1\n  clusterctrl lab " + do + " p2-p4",
		Args:              arguments(1, math.MaxInt, what+", such as p1 or p2-p4"),
		ValidArgsFunction: completeMachine(do),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, name := range machines(args) {
				_, _, err := labAsk(lab.Request{Do: do, Machine: name})
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// machines are the names in words, with ranges such as p1-p4 in full. Which names there
// are, the lab knows.
func machines(words []string) (names []string) {
	for _, word := range words {
		ids, err := node.ParseSet([]string{word}, nil)
		if err != nil {
			names = append(names, word)
			continue
		}
		for _, id := range ids {
			names = append(names, id.String())
		}
	}
	return names
}

// cableFor is the state of the cables that a verb is for, if it is for cables.
var cableFor = map[string]string{lab.AskPlug: "out", lab.AskUnplug: "in"}

// completeMachine completes to the machines of the running cluster that a verb is
// for.
func completeMachine(do string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []string
		if len(args) == 0 {
			status, _, _ := labAsk(lab.Request{Do: lab.AskStatus}) // there is no place to say what fails
			for _, m := range status.Machines {
				if cable, needed := cableFor[do]; !needed || cable == m.Cable {
					names = append(names, m.Name)
				}
			}
		}
		return matching(typed, names), cobra.ShellCompDirectiveNoFileComp
	}
}

const labConsoleHelp = `Console opens the serial console of a machine, which needs no USB cable. It shows the
end of what the machine has printed since its kernel started, then goes on. Several
users may open the console of one machine, and each sees what the others type.

At the start of a line, ~. ends the connection, ~~ sends a ~, and ~? helps. So ~~. ends
a "clusterctrl console" that runs in the machine.`

func labConsoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "console MACHINE",
		Short:             "Open a machine's serial console",
		Long:              labConsoleHelp,
		Example:           "  clusterctrl lab console p1",
		Args:              exactly(1, "MACHINE, such as p1"),
		ValidArgsFunction: completeMachine(lab.AskConsole),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, conn, err := labAsk(lab.Request{Do: lab.AskConsole, Machine: args[0]})
			if err != nil {
				return err
			}
			defer conn.Close()
			return talk(cmd, args[0], conn)
		},
	}
}

func labDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "End the virtual cluster",
		Long:    "Down ends the virtual cluster, as Ctrl-C in the terminal of \"lab up\" does. It returns\nwhen its machines and their copies of the images are gone.",
		Example: "  clusterctrl lab down",
		Args:    exactly(0, "none"),
		RunE: func(*cobra.Command, []string) error {
			_, conn, err := labAsk(lab.Request{Do: lab.AskDown})
			if err != nil {
				return err
			}
			defer conn.Close()
			io.Copy(io.Discard, conn) // until the machines are gone
			return nil
		},
	}
}

func labStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say how the machines are",
		Long:    "Status says which machines are on, and which nodes' USB cables are in.",
		Example: "  clusterctrl lab status\n  clusterctrl lab status --json",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, _, err := labAsk(lab.Request{Do: lab.AskStatus})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), answer.Machines)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "MACHINE\tPOWER\tCABLE")
			for _, m := range answer.Machines {
				power := "off"
				if m.On {
					power = "on"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", m.Name, power, m.Cable)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
