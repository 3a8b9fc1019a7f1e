package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/gadget"
	"clusterctrl/internal/pi/hostname"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
)

const restoreNameHelp = `Restore-name gives a node the name back that follows from its number: p7 for
ID=7 in /etc/default/clusterctrl. Raspberry Pi Imager's script and the file
custom.toml give a Pi another name after it was branded, the same for all cards.
Restore-name runs on the node when the node starts under another name.`

func restoreNameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "restore-name",
		Short:   "Give a node the name of its number back (on the node)",
		Long:    restoreNameHelp,
		Example: "  sudo clusterctrl restore-name",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := restoreName()
			if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
				return fmt.Errorf("%w; run it as root", err)
			}
			if err != nil {
				return err
			}
			return println(cmd.OutOrStdout(), line)
		},
	}
}

// restoreName returns a line that says what was done.
func restoreName() (string, error) {
	s, err := gadget.ReadSettings(node.SettingsFile)
	if err != nil {
		return "", err
	}
	if !s.IsNode() {
		return fmt.Sprintf("TYPE=%s is no node: its name is its owner's", s.Type), nil
	}
	root, err := rootfs.OpenDir("/")
	if err != nil {
		return "", err
	}
	defer root.Close()
	other, err := hostname.Restore(root, s.ID)
	if err != nil {
		return "", err
	}
	if err := hostname.SetRunning(s.ID.String()); err != nil {
		return "", err
	}
	if other == "" {
		return fmt.Sprintf("this node's name is %v", s.ID), nil
	}
	return fmt.Sprintf("set the name %s aside: this node's is %v, by its number", other, s.ID), nil
}
