package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"clusterctrl/internal/controller/usbboot/nfs"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// withRoots opens the directory of all roots for a change. Unless it is forced, the change
// must not touch roots that nodes run from.
func (c *controller) withRoots(ids []node.ID, force bool, do func(*nfs.Roots) error) (err error) {
	look, err := c.lookAtNodes()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if look.runs(id) && !force {
			return fmt.Errorf("%v runs from its root: shut it down first, or say --force", id)
		}
	}
	roots, err := nfs.Open(node.NFSRoots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roots.Close()) }()
	return do(roots)
}

func (c *controller) addRoots(cmd *cobra.Command, ids []node.ID, archive string, force bool) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = c.withRoots(ids, force, func(roots *nfs.Roots) error {
		before, err := roots.Free()
		if err != nil {
			return err
		}
		show := display(cmd)
		defer show.Wait()
		meter := show.Start("unpack", info.Size())
		addition := nfs.Addition{Archive: io.TeeReader(f, meter), Replace: force}
		err = roots.Add(cmd.Context(), addition, ids...)
		if err := errors.Join(err, meter.Close()); err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
		show.Wait()
		after, err := roots.Free()
		if err != nil {
			return err
		}
		for _, id := range ids {
			println(cmd.OutOrStdout(), id.NFSRoot())
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "took %s of the disk, %s are free\n", megabytes(max(before-after, 0)), megabytes(after))
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(c.linkBoot(), c.serveBootFiles(cmd))
}

// serveBootFiles turns on the service that gives out boot files, and says what is missing
// for the nodes to mount their roots.
func (c *controller) serveBootFiles(cmd *cobra.Command) error {
	if !(nfs.Doctor{Base: "/"}).HasServer() {
		fmt.Fprintln(cmd.ErrOrStderr(), "this controller has no NFS server: the nodes start once you have typed: "+nfs.ServerInstall)
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return nil
	}
	out, err := exec.CommandContext(cmd.Context(), "systemctl", "enable", "--quiet", "--now", nfs.Unit).CombinedOutput()
	if err != nil {
		return fmt.Errorf("turn on %s: %w: %s", nfs.Unit, err, out)
	}
	return nil
}

func (c *controller) removeRoots(cmd *cobra.Command, ids []node.ID, force bool) error {
	err := c.withRoots(ids, force, func(roots *nfs.Roots) error {
		for _, id := range ids {
			if err := roots.Remove(id); err != nil {
				return err
			}
			println(cmd.OutOrStdout(), id.NFSRoot())
		}
		return nil
	})
	return errors.Join(err, c.linkBoot())
}

func (c *controller) brandRoot(_ *cobra.Command, id node.ID, force bool) error {
	err := c.withRoots([]node.ID{id}, force, func(roots *nfs.Roots) error { return roots.Brand(id) })
	if err != nil {
		return err
	}
	return c.linkBoot()
}

func (c *controller) listRoots(cmd *cobra.Command, asJSON bool) error {
	list, err := c.rootStates()
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), list)
	}
	if len(list) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "clusterctrl: no node has a root here: \"clusterctrl usbboot add\" makes one")
		return nil
	}
	rows := [][]string{{"NODE", "SYSTEM", "SIZE", "USB PATH", "STATE"}}
	for _, s := range list {
		rows = append(rows, []string{s.Node.String(), s.System, megabytes(s.Size), s.USBPath, s.State})
	}
	return writeRows(cmd.OutOrStdout(), rows)
}

// A rootState is a node with a root, as list shows it.
type rootState struct {
	Node    node.ID `json:"node"`
	System  string  `json:"system"` // release and architecture
	Size    int64   `json:"size"`   // of the root, in bytes
	USBPath string  `json:"usbPath"`
	State   string  `json:"state"`
}

func (c *controller) rootStates() (_ []rootState, err error) {
	roots, err := nfs.Open(node.NFSRoots)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, roots.Close()) }()
	ids, err := roots.IDs()
	if err != nil {
		return nil, err
	}
	paths, err := c.learnPaths()
	if err != nil {
		return nil, err
	}
	look, err := c.lookAtNodes()
	if err != nil {
		return nil, err
	}
	list := []rootState{} // in JSON too
	for _, id := range ids {
		s := rootState{Node: id, System: systemOf(roots, id), USBPath: paths[id]}
		if path, err := c.boards.Path(id); err == nil && path != "" {
			s.USBPath = path
		}
		if s.Size, err = roots.Size(id); err != nil {
			return nil, err
		}
		s.State = look.state(id, s.USBPath)
		list = append(list, s)
	}
	return list, nil
}
