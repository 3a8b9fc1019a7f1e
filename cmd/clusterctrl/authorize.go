package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"github.com/spf13/cobra"
)

const authorizeHelp = `Authorize has nodes let you in by key, so that "clusterctrl run", "copy" and "ssh", and
all that works by ssh, ask for no password. It adds your public key to
~/.ssh/authorized_keys on each node, where the key is missing. If you have no key, it makes
one in ~/.ssh/id_ed25519, without a passphrase: who can read that file can log in to the
nodes.

The password is asked for once, and tried on all NODES. It is the one that the images were
built with.`

const authorizeExample = `  clusterctrl authorize all
  clusterctrl authorize p1-p4 --user anna --password-file secret.txt`

func authorizeCommand() *cobra.Command {
	var f remoteFlags
	var passwordFile string
	cmd := &cobra.Command{
		Use:               "authorize NODES",
		Short:             "Have nodes let you in by key, without a password (on the controller)",
		Long:              authorizeHelp,
		Example:           authorizeExample,
		ValidArgsFunction: completeNodes,
		Args:              nodeSets(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if _, err := onController(cmd); err != nil {
				return err
			}
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			password, err := readPassword(cmd, passwordFile, "Password: ")
			if err != nil {
				return err
			}
			key, err := ensureKey(cmd, filepath.Join(home, ".ssh"))
			if err != nil {
				return err
			}
			return f.each(cmd, args, remote{program: "ssh", password: password, args: func(id node.ID) []string {
				return authorizeArgs(id, f.user, key)
			}})
		},
	}
	f.addFlags(cmd)
	cmd.Flags().StringVar(&passwordFile, "password-file", stdinName, "read the password from the first line of `FILE`, - for standard input")
	return cmd
}

// keyNames are the names of a user's keys in ~/.ssh, the best first. See ssh(1).
var keyNames = []string{"id_ed25519", "id_ecdsa", "id_rsa"}

// ensureKey returns the line of the user's public key. If the user has no key, it makes
// one.
func ensureKey(cmd *cobra.Command, dir string) (string, error) {
	for _, name := range keyNames {
		file := filepath.Join(dir, name+".pub")
		keys, err := readKeys(file)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return "", err
		case len(keys) != 1:
			return "", fmt.Errorf("%s: %d keys in it: want one", file, len(keys))
		}
		return keys[0], nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(dir, keyNames[0])
	out, err := exec.CommandContext(cmd.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ssh-keygen: %w: %s", err, strings.TrimSpace(string(out)))
	}
	say(cmd, "made a key for you: %s", file)
	keys, err := readKeys(file + ".pub")
	if err != nil {
		return "", err
	}
	return keys[0], nil
}

// addKey is a script for a node. The file ~/.ssh/authorized_keys gets the key as a new line,
// unless the file has the key.
const addKey = `umask 077 && mkdir -p ~/.ssh && cd ~/.ssh && touch authorized_keys &&
{ grep -qxF -- %[1]s authorized_keys || {
[ -z "$(tail -c 1 authorized_keys)" ] || echo >>authorized_keys
echo %[1]s >>authorized_keys; }; } && echo authorized`

// authorizeArgs are the arguments of ssh that add a key on a node. They try the keys that
// the user has, then the password once.
func authorizeArgs(id node.ID, user, key string) []string {
	options := []string{"-n", "-o", "NumberOfPasswordPrompts=1", "-o", "PreferredAuthentications=publickey,password,keyboard-interactive"}
	return append(options, sshArgs(id, user, []string{fmt.Sprintf(addKey, defaults.Quote(key))})...)
}

// passwordVariable holds what the program prints when ssh starts it to ask for a password.
const passwordVariable = "CLUSTERCTRL_ASKPASS"

// answerWith has ssh get a password from this program, not from a terminal. OpenSSH since
// 8.4 looks at SSH_ASKPASS_REQUIRE; an older one at DISPLAY, if it has no terminal. See
// ssh(1).
func answerWith(c *exec.Cmd, password string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.Env = append(os.Environ(), "SSH_ASKPASS="+self, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none", passwordVariable+"="+password)
	leaveTerminal(c)
	return nil
}
