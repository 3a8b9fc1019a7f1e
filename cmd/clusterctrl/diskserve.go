package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"clusterctrl/internal/controller/fence"
	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

const diskListHelp = `List shows each disk: whether its node is connected, the space that the node's changes
take, the image below them by the start of its SHA-256, and what the node reads and
writes a second. STATE is

  connected  the node uses the disk
  idle       the node may connect
  off        the service clusterctrl-disk does not run
  unusable   no node can use the disk: its image is missing or changed, say

Behind the table, it says why disks are unusable, or could not be written to. It warns
where nothing keeps a node from taking another's address, and so another's disk.`

func diskListCommand(disks *disk.Dir) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show the disks and who uses them",
		Long:    diskListHelp,
		Example: "  sudo clusterctrl disk list\n  sudo clusterctrl disk list --json",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := disks.List()
			if err != nil {
				return needRoot(err)
			}
			if len(all) > 0 && disks.Path == node.Disks {
				if err := fence.Check(); err != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v; type: %s\n", unfenced(err), fenceRemedy)
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), all)
			}
			if len(all) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "clusterctrl: no disks in %s\n", disks.Path)
				return nil
			}
			return writeDisks(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	return cmd
}

func writeDisks(w io.Writer, all []disk.Status) error {
	rows := [][]string{{"NODE", "STATE", "SIZE", "OWN", "BASE", "READ/S", "WRITTEN/S"}}
	for _, s := range all {
		row := []string{s.Node.String(), string(s.State), megabytes(s.Size), megabytes(s.Own), s.Base[:min(12, len(s.Base))], "", ""}
		if s.State == disk.Connected {
			row[5], row[6] = megabytes(s.ReadRate), megabytes(s.WriteRate)
		}
		rows = append(rows, row)
	}
	if err := writeRows(w, rows); err != nil {
		return err
	}
	for _, s := range all {
		if s.Error != "" {
			if err := println(w, fmt.Sprintf("%v: %s", s.Node, strings.ReplaceAll(s.Error, "\n", "; "))); err != nil {
				return err
			}
		}
	}
	return nil
}

// megabytes prints a number of bytes.
func megabytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

const diskServeHelp = `Serve gives nodes their disks, over the network block device protocol, on the
controller's internal network alone. A node gets its own disk and no other: by its
address, by its name, and by the USB port that it is plugged into, where the controller's
boards tell which node is there. Disks may be added and removed meanwhile.

A node whose service ends waits, and goes on when it is back.`

func diskServeCommand(disks *disk.Dir) *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "Give nodes their disks (the service clusterctrl-disk runs it)",
		Long:    diskServeHelp,
		Example: "  sudo clusterctrl disk serve",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var mu sync.Mutex
			s := disk.Service{Dir: *disks, Vouch: disks.VouchByPath(node.RPIBootDir), Report: func(id node.ID, what string) {
				mu.Lock()
				defer mu.Unlock()
				println(cmd.OutOrStdout(), fmt.Sprintf("%v: %s", id, strings.ReplaceAll(what, "\n", "; ")))
			}}
			err := s.Run(cmd.Context())
			if cmd.Context().Err() != nil {
				return nil // that is how a service ends
			}
			return needRoot(err)
		},
	}
}
