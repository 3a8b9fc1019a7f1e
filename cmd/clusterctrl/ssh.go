package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const sshHelp = `Ssh runs ssh to a node, at the address that it has on every controller,
172.19.181.n. Its host key is kept and checked under the node's name; the first key
is accepted, since it comes over a cable from the node itself. Words behind NODE are
a command to run on the node, as with plain ssh.

The exit status is that of ssh, or 1 on a machine that is no controller.`

const sshExample = `  clusterctrl ssh p7
  clusterctrl ssh --user anna p7 -- uptime -p`

func sshCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:               "ssh [--user NAME] NODE [-- COMMAND...]",
		Short:             "Log in to a node, or run a command there, with ssh",
		Long:              sshHelp,
		Example:           sshExample,
		ValidArgsFunction: completeNode,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("ssh: want NODE, such as p7")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := node.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			if _, err := onController(cmd); err != nil {
				return err
			}
			return runSSH(cmd.Context(), id, sshArgs(id, user, args[1:]))
		},
	}
	cmd.Flags().SetInterspersed(false) // flags behind NODE are the command's
	cmd.Flags().StringVarP(&user, "user", "l", "", "log in as `NAME` (default: as ssh does)")
	return cmd
}

// sshArgs are the arguments of ssh. It gives up on an unplugged node sooner than it
// would on a machine far away.
func sshArgs(id node.ID, user string, command []string) []string {
	args := hostOptions(id)
	if user != "" {
		args = append(args, "-l", user)
	}
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	return append(append(args, "--", id.Addr().String()), command...)
}

// hostOptions are the options by which ssh and its kin keep nodes apart.
func hostOptions(id node.ID) []string {
	return []string{
		"-o", "HostKeyAlias=" + id.String(), "-o", "CheckHostIP=no", "-o", "StrictHostKeyChecking=accept-new",
		"-o", "ConnectTimeout=10",
	}
}

func runSSH(ctx context.Context, id node.ID, args []string) error {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("no program ssh here; on Debian: apt-get install openssh-client")
	}
	if nodes, err := cluster.Nodes(); err == nil && len(nodes) > 0 && !plugged(nodes, id) {
		fmt.Fprintf(os.Stderr, "clusterctrl: %v is not plugged in here; trying all the same\n", id)
	}
	if refuses(ctx, id) {
		return fmt.Errorf("%v: %w", id, errNoSSH)
	}
	return become(ctx, program, args)
}

// refuses reports whether a node answers, but has no SSH server. Of a node that does not
// answer soon, ssh says more.
func refuses(ctx context.Context, id node.ID) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(id.Addr().String(), "22"))
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func plugged(nodes []cluster.Node, id node.ID) bool {
	for _, n := range nodes {
		if n.ID == id {
			return true
		}
	}
	return false
}
