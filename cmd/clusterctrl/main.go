// Clusterctrl builds, boots and controls a cluster of Raspberry Pis.
//
// What goes where: results go to standard output; everything else, progress and
// errors among it, to standard error. Messages begin in lower case and end
// without a full stop. The exit status is 0, 1 if something went wrong, 2 if the
// command line is wrong, or 130 if a signal ended the run. With --json, an error is
// an object on standard output too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"clusterctrl/internal/lab/inside"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

func main() {
	if password, asked := os.LookupEnv(passwordVariable); asked {
		fmt.Println(password) // ssh started the program: see answerWith
		return
	}
	name := filepath.Base(os.Args[0])
	if name == "init" && os.Getpid() == 1 {
		fail(inside.Main(os.Args)) // it returns only if there is no system to start
	}
	if serve, ok := labPrograms[name]; ok {
		if err := serve(); err != nil {
			fail(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not listen
	root := rootCommand()
	verb, _ := alias(name)
	root.SetArgs(append(verb, os.Args[1:]...))
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		err = errInterrupted
	}
	if asksJSON(os.Args[1:]) && !errors.As(err, new(toldError)) {
		json.NewEncoder(os.Stdout).Encode(failure{oneLine(err), exitStatus(err)})
	}
	fail(err)
}

// errInterrupted says that the user, or the system, ended a run by a signal.
var errInterrupted = errors.New("interrupted")

// A failure is an error as JSON, on standard output, where programs read.
type failure struct {
	Error string `json:"error"`
	Exit  int    `json:"exit"`
}

// A toldError is told in a command's own JSON already.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// asksJSON finds --json in a command line, which may be one that cannot be parsed.
func asksJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// labPrograms are what the program is in the lab's machines, by the name that it is
// started by there.
var labPrograms = map[string]func() error{inside.Name: inside.Serve, inside.BareName: inside.ServeBare}

// alias returns the words of the command line that another name of the program stands
// for.
func alias(name string) (words []string, known bool) {
	if name == inventoryName {
		return []string{"inventory"}, true
	}
	if name == node.KernelHook {
		return []string{"usbboot", "initramfs"}, true
	}
	for _, a := range node.Aliases {
		if path.Base(a.Path) == name {
			return strings.Fields(a.Verb), true
		}
	}
	return nil, false
}

// interrupts are the signals that end a run in good order. A terminal that is closed
// sends SIGHUP, which programs under nohup(1) ignore.
func interrupts() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "clusterctrl:", oneLine(err))
	os.Exit(exitStatus(err))
}

func oneLine(err error) string { return strings.ReplaceAll(advised(err).Error(), "\n", "; ") }

func exitStatus(err error) int {
	var ended exitError
	switch {
	case errors.As(err, &ended):
		return ended.status
	case errors.Is(err, errInterrupted):
		return 130 // as shells have it: 128 and SIGINT
	case errors.As(err, new(usageError)):
		return 2
	}
	return 1
}

// A usageError says what is wrong with the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format+"; see --help", args...)}
}

const rootHelp = `Clusterctrl turns a Raspberry Pi OS image into the images of a cluster: a
controller's and one for each Raspberry Pi on a ClusterHAT or ClusterCTRL board.
It needs no root, no loop devices and no other programs. The images hold it too,
for controllers and nodes.

Exit status: 0, 1 if something went wrong, 2 if the command line is wrong, 130 if
Ctrl-C or another signal ended the run.`

const rootExample = `  # try it on the small image that comes with the program
  clusterctrl build sample -o out
  clusterctrl inspect out/*-p1.img

  # a controller and four nodes
  clusterctrl build 2025-05-13-raspios-bookworm-arm64-lite.img.xz --nodes 4 -o out

  # on the controller: the nodes that are plugged in, and the console of one
  clusterctrl nodes
  clusterctrl console p1`

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "clusterctrl",
		Short:         "Build, boot and control a cluster of Raspberry Pis",
		Long:          rootHelp,
		Example:       rootExample,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
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
	root.PersistentFlags().BoolP("quiet", "q", false, "show no progress and no advice")
	addGroup(root, "Images, on any computer:", buildCommand(), flashCommand(), serveCommand(), inspectCommand(), reconfigCommand(), verifyCommand(), configCommand())
	addGroup(root, "On a controller:", nodesCommand(), consoleCommand(), sshCommand(), usbbootCommand(), rpibootCommand(), diskCommand(), initCommand(), clockCommand())
	addGroup(root, "Many nodes at once:", authorizeCommand(), runCommand(), copyCommand(), sshConfigCommand(), inventoryCommand())
	addGroup(root, "Power, on a controller:", onCommand(), offCommand(), cycleCommand(), statusCommand(), maxpiCommand())
	addGroup(root, "Boards, on a controller:", append([]*cobra.Command{alertCommand(), identifyCommand(), ledCommand(), hubCommand(),
		fanCommand(), actCommand(), wpCommand(), getpathCommand()}, boardCommands()...)...)
	addGroup(root, "On a node:", compositeCommand(), restoreNameCommand())
	addGroup(root, "Without hardware:", emulateCommand(), labCommand())
	root.AddCommand(versionCommand())
	addCobras(root)
	return root
}

// addGroup adds commands that help lists under a title.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

// addCobras adds cobra's own commands (help, completion), which by themselves ignore
// arguments that they do not know.
func addCobras(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if about, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return unknown(about, rest[0])
				}
				return nil
			}
		case "completion":
			cmd.Args = exactly(0, "bash, fish, powershell or zsh")
			cmd.RunE = func(*cobra.Command, []string) error {
				return usagef("completion: want bash, fish, powershell or zsh")
			}
			for _, shell := range cmd.Commands() {
				shell.Args = exactly(0, "none")
			}
		}
	}
}

// unknown says that a command has no subcommand of that name, and which one may have
// been meant.
func unknown(cmd *cobra.Command, word string) error {
	what := fmt.Sprintf("unknown command %q", word)
	if cmd.HasParent() {
		what += " of " + cmd.Name()
	}
	const short = 4 // letters of a word in which two other ones make another word
	cmd.SuggestionsMinimumDistance = 2
	if len(word) <= short {
		cmd.SuggestionsMinimumDistance = 1
	}
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		what += ", want " + strings.Join(near, " or ")
	}
	return usagef("%s", what)
}

// exactly is [cobra.ExactArgs] with the errors of this program.
func exactly(n int, what string) cobra.PositionalArgs { return arguments(n, n, what) }

// arguments is [cobra.RangeArgs] with the errors of this program. It refuses an empty
// word, which mostly is a shell variable that was not set.
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
