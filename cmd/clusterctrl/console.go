package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"clusterctrl/internal/controller/console"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const consoleHelp = `Console opens the serial console of a node that is plugged into this controller.
The console needs no network on the node. Once the node has started, press Enter to
see the login prompt.

At the start of a line, ~. ends the connection, ~~ sends a ~, and ~? helps. When
the node is unplugged or restarts, the connection ends with exit status 1. When the
input ends, as a file does, console still shows the node's output until Ctrl-C.`

func consoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "console NODE",
		Short:             "Open the serial console of a node (on the controller)",
		Long:              consoleHelp,
		Example:           "  clusterctrl console p7",
		Args:              exactly(1, "NODE, such as p7"),
		ValidArgsFunction: completeNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := node.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			if _, err := onController(cmd); err != nil {
				return err
			}
			return runConsole(cmd, id)
		},
	}
}

func runConsole(cmd *cobra.Command, id node.ID) error {
	port, err := console.Open("/dev/" + id.Port())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v has no serial console here (no /dev/%s): it is not plugged in, has no power, or has not started yet", id, id.Port())
	}
	if err != nil {
		return fmt.Errorf("%v: %w", id, err)
	}
	defer port.Close()
	return talk(cmd, id.String(), port)
}

// talk connects the user with a console until either is over.
func talk(cmd *cobra.Command, name string, port io.ReadWriter) (err error) {
	// A signal that would end the program at once has the terminal restored first.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGQUIT)
	defer stop()
	newline := "\n"
	if keyboard := int(os.Stdin.Fd()); term.IsTerminal(keyboard) {
		state, err := term.MakeRaw(keyboard)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, term.Restore(keyboard, state)) }()
		newline = "\r\n"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "console of %s: Enter shows its prompt, ~. at the start of a line ends this, ~? helps%s", name, newline)
	err = console.Run(ctx, port, cmd.InOrStdin(), cmd.OutOrStdout())
	fmt.Fprint(cmd.ErrOrStderr(), newline)
	switch {
	case errors.Is(err, console.ErrGone):
		return fmt.Errorf("%s: %w", name, console.ErrGone)
	case errors.Is(err, context.Canceled) && cmd.Context().Err() == nil:
		return errors.New("ended by a signal")
	}
	return err
}
