// Clusterctrl builds, boots and controls a cluster of Raspberry Pis.
//
// What goes where: results go to standard output; everything else, progress and
// errors among it, to standard error. Messages begin in lower case and end
// without a full stop. The exit status is 0, 1 if something went wrong, or 2 if
// the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"clusterctrl/internal/lab/inside"
	"github.com/spf13/cobra"
)

// version is set by the linker in release builds.
var version = "dev"

// aliases are the other names of this program, which systemd units, kernel
// command lines and users of the shell scripts that it replaces call it by.
var aliases = map[string][]string{
	"clusterhat":            nil,
	"composite-clusterctrl": {"composite"},
	"usbboot-init":          {"usbboot-init"},
	"reconfig-usbboot":      {"reconfig-usbboot"},
}

func main() {
	name := filepath.Base(os.Args[0])
	if name == "init" && os.Getpid() == 1 {
		fail(inside.Main(os.Args)) // it returns only if there is no system to start
	}
	if name == inside.Name {
		if err := inside.Serve(); err != nil {
			fail(err)
		}
		return
	}
	if name == "usbboot-init" || name == "reconfig-usbboot" {
		fail(fmt.Errorf("%s: nodes do not boot over USB with this version", name))
	}
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not listen
	root := rootCommand()
	root.SetArgs(append(aliases[name], os.Args[1:]...))
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	fail(err)
}

// interrupts are the signals that end a run in good order. A terminal that goes
// sends SIGHUP, unless nohup(1) has it ignored.
func interrupts() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "clusterctrl:", strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, new(usageError)) {
		os.Exit(2)
	}
	os.Exit(1)
}

// A usageError says what is wrong with the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format+"; see --help", args...)}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "clusterctrl",
		Short:         "Build, boot and control a cluster of Raspberry Pis",
		Long:          "Clusterctrl turns a Raspberry Pi OS image into the images of a cluster:\na controller's and one for each Raspberry Pi on a ClusterHAT or ClusterCTRL\nboard. It needs no root, no loop devices and no other programs.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		for parser, want := range map[string]string{"strconv.ParseInt": "a whole number", "strconv.ParseBool": "true or false"} {
			if what, _, its := strings.Cut(err.Error(), parser); its {
				return usagef("%swant %s", what, want)
			}
		}
		return usagef("%w", err)
	})
	root.PersistentFlags().BoolP("quiet", "q", false, "show no progress")
	root.AddCommand(
		buildCommand(), nodesCommand(), inspectCommand(), reconfigCommand(), verifyCommand(),
		compositeCommand(), initCommand(), consoleCommand(), sshCommand(),
		emulateCommand(), labCommand(),
	)
	return root
}

// exactly is [cobra.ExactArgs] with errors of ours.
func exactly(n int, what string) cobra.PositionalArgs { return arguments(n, n, what) }

// arguments is [cobra.RangeArgs] with errors of ours. It takes no empty word, which
// mostly is a variable that somebody forgot to set.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, verb, _ := strings.Cut(cmd.CommandPath(), " ")
		if len(args) < least || len(args) > most {
			return usagef("%s: got %d arguments: want %s", verb, len(args), what)
		}
		if slices.Contains(args, "") {
			return usagef("%s: got an empty argument: want %s", verb, what)
		}
		return nil
	}
}
