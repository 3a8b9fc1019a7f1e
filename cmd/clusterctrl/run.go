package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const runHelp = `Run runs a command on several nodes at the same time, by ssh, as "clusterctrl ssh" does
on one. Each line that a node prints has the node's name in front. NODES are such as
p1-p4,p7, or all that are plugged in. No node asks for a password: "clusterctrl authorize"
makes the nodes let you in by key.

With --json, run prints an object a node when the command has ended there, with its
output and its exit status.

The exit status is the highest of the nodes'; ssh's own is 255, as for a node that does
not answer. On a machine that is no controller it is 1.`

const runExample = `  clusterctrl run p1-p4 -- uptime -p
  clusterctrl run all --user anna -- sudo apt-get update
  clusterctrl run p1,p3 --json -- cat /etc/hostname`

// remoteFlags say how to get to nodes by ssh.
type remoteFlags struct {
	user     string
	parallel int
}

func (f *remoteFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.user, "user", "l", "", "log in as `NAME` (default: as ssh does)")
	cmd.Flags().IntVar(&f.parallel, "parallel", 32, "at most `N` nodes at the same time")
}

func (f remoteFlags) check() error {
	if f.parallel < 1 {
		return usagef("--parallel %d: want 1 or more", f.parallel)
	}
	return nil
}

func runCommand() *cobra.Command {
	var f remoteFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "run NODES [flags] -- COMMAND...",
		Short:             "Run a command on several nodes, with ssh (on the controller)",
		Long:              runHelp,
		Example:           runExample,
		ValidArgsFunction: completeNodes,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at < 1 || at == len(args) {
				return usagef("run: want NODES -- COMMAND, such as p1-p4 -- uptime")
			}
			return nodeSets(1)(cmd, args[:cmd.ArgsLenAtDash()])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			return f.each(cmd, args[:at], remote{program: "ssh", json: asJSON, args: func(id node.ID) []string {
				return append([]string{"-n", "-o", "BatchMode=yes"}, sshArgs(id, f.user, args[at:])...)
			}})
		},
	}
	f.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

const copyHelp = `Copy copies files and directories to several nodes at the same time, by scp. The last
word is NODES with a colon, and a path behind it where the home directory is not meant.`

const copyExample = `  clusterctrl copy job.sh p1-p4:
  clusterctrl copy --user anna site/ index.html p1,p3:/srv/www`

func copyCommand() *cobra.Command {
	var f remoteFlags
	cmd := &cobra.Command{
		Use:     "copy FILE... NODES:[PATH]",
		Short:   "Copy files to several nodes, with scp (on the controller)",
		Long:    copyHelp,
		Example: copyExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(2, 1<<16, "FILE and NODES:, such as job.sh p1-p4:")(cmd, args); err != nil {
				return err
			}
			nodes, _, ok := strings.Cut(args[len(args)-1], ":")
			if !ok {
				return usagef("copy: %q: want NODES and a colon, such as p1-p4:", args[len(args)-1])
			}
			return nodeSets(1)(cmd, []string{nodes})
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			files := args[:len(args)-1]
			nodes, to, _ := strings.Cut(args[len(args)-1], ":")
			return f.each(cmd, []string{nodes}, remote{program: "scp", args: func(id node.ID) []string {
				return scpArgs(id, f.user, files, to)
			}})
		},
	}
	f.addFlags(cmd)
	return cmd
}

// scpArgs are the arguments of scp, which takes a word without a slash and with a colon
// for another machine's file.
func scpArgs(id node.ID, user string, files []string, to string) []string {
	args := append([]string{"-q", "-r", "-B"}, hostOptions(id)...)
	host := id.Addr().String()
	if user != "" {
		host = user + "@" + host
	}
	args = append(args, "--")
	for _, file := range files {
		if strings.Contains(file, ":") && !strings.HasPrefix(file, "/") {
			file = "./" + file
		}
		args = append(args, file)
	}
	return append(args, host+":"+to)
}

// A nodeResult is what became of a command on a node.
type nodeResult struct {
	Node   string `json:"node"`
	Exit   int    `json:"exit"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// A remote is a program that works on a node.
type remote struct {
	program  string
	args     func(node.ID) []string
	json     bool   // print a result as JSON
	password string // what the node asks for, if anything
}

// each runs a program for each node, in parallel.
func (f remoteFlags) each(cmd *cobra.Command, words []string, r remote) error {
	if err := f.check(); err != nil {
		return err
	}
	if _, err := onController(cmd); err != nil {
		return err
	}
	ids, err := node.ParseSet(words, pluggedNodes())
	if err != nil {
		return fmt.Errorf("%w; or all, where nodes are plugged in", err)
	}
	var mu sync.Mutex // of the outputs, and of worst
	worst := exitError{}
	g := new(errgroup.Group)
	g.SetLimit(f.parallel)
	for _, id := range ids {
		g.Go(func() error {
			result, err := r.run(cmd, &mu, id)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if r.json {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			switch {
			case strings.Contains(result.Stderr, "Connection refused"):
				fmt.Fprintf(cmd.ErrOrStderr(), "%v: %v\n", id, errNoSSH)
			case r.password == "" && strings.Contains(result.Stderr, "Permission denied (") && result.Exit == sshFailed:
				fmt.Fprintf(cmd.ErrOrStderr(), "%v: %v\n", id, errNoKey)
			}
			if result.Exit != 0 {
				worst.status, worst.failed = max(worst.status, result.Exit), append(worst.failed, id)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if worst.status != 0 {
		return toldError{worst}
	}
	return nil
}

// errNoSSH says what a refused connection means on a node.
var errNoSSH = errors.New("its SSH server is off, or the node is still starting: try again in a minute, build with --ssh, or log in by \"clusterctrl console\" and run \"sudo systemctl enable --now ssh\"")

// errNoKey says what to do where a node wants a password.
var errNoKey = errors.New("it has no key of yours: run \"clusterctrl authorize\" for the same nodes and user")

// sshFailed is the exit status of ssh and scp where ssh itself failed. See ssh(1).
const sshFailed = 255

// An exitError is the highest exit status of a command on several nodes.
type exitError struct {
	status int
	failed []node.ID
}

func (e exitError) Error() string {
	return fmt.Sprintf("exit status %d on %s", e.status, strings.Join(ranges(e.failed), " "))
}

// run runs the program for a node, and passes each line on that it prints, with the node's
// name in front. For JSON, the lines are only kept.
func (r remote) run(cmd *cobra.Command, mu *sync.Mutex, id node.ID) (nodeResult, error) {
	path, err := exec.LookPath(r.program)
	if err != nil {
		return nodeResult{}, fmt.Errorf("no program %s here; on Debian: apt-get install openssh-client", r.program)
	}
	result := nodeResult{Node: id.String()}
	stdout := &prefixed{w: cmd.OutOrStdout(), mu: mu, prefix: id.String() + ": ", silent: r.json}
	stderr := &prefixed{w: cmd.ErrOrStderr(), mu: mu, prefix: id.String() + ": ", silent: r.json}
	c := exec.CommandContext(cmd.Context(), path, r.args(id)...)
	c.Stdout, c.Stderr = stdout, stderr
	if r.password != "" {
		if err := answerWith(c, r.password); err != nil {
			return nodeResult{}, err
		}
	}
	err = c.Run()
	if err := errors.Join(stdout.flush(), stderr.flush()); err != nil {
		return nodeResult{}, err
	}
	result.Stdout, result.Stderr = stdout.kept.String(), stderr.kept.String()
	exit := new(exec.ExitError)
	switch {
	case cmd.Context().Err() != nil:
		return result, context.Cause(cmd.Context())
	case errors.As(err, &exit):
		result.Exit = exit.ExitCode()
	case err != nil:
		return result, err
	}
	return result, nil
}

// prefixed passes whole lines on, each with a prefix, and keeps the first bytes of all.
type prefixed struct {
	w      io.Writer
	mu     *sync.Mutex
	prefix string
	silent bool
	line   bytes.Buffer
	kept   bytes.Buffer
}

// What is kept of a node's output, in bytes: enough to tell, and bounded for each of 252.
const (
	keptForJSON = 1 << 20
	keptToTell  = 4 << 10
	longestLine = 64 << 10 // one that is longer is passed on in parts
)

func (p *prefixed) Write(b []byte) (int, error) {
	most := keptToTell
	if p.silent {
		most = keptForJSON
	}
	p.kept.Write(b[:min(len(b), max(0, most-p.kept.Len()))])
	if p.silent {
		return len(b), nil
	}
	for rest := b; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		p.line.Write(line)
		rest = after
		if whole || p.line.Len() > longestLine {
			if err := p.pass(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (p *prefixed) pass() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := fmt.Fprintf(p.w, "%s%s\n", p.prefix, p.line.Bytes())
	p.line.Reset()
	return err
}

// flush passes on what has no newline behind it.
func (p *prefixed) flush() error {
	if p.line.Len() == 0 {
		return nil
	}
	return p.pass()
}
