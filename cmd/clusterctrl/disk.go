package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"github.com/spf13/cobra"
)

const diskHelp = `Disk gives nodes without cards a disk each: an image that all share, which nothing
changes, and a file of what the node changed. A node without a card that gets power
starts from its disk as from a card of its own. The first start brands the node.

The controller gives the disks out over its internal network, to each node its own
(service clusterctrl-disk, which starts as soon as there is a disk). A node that has a
card starts from that.`

func diskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Give disks to nodes without cards (on the controller)",
		Long:  diskHelp,
		Example: `  sudo clusterctrl disk add p1-p4 cluster-CBRIDGE.img.xz
  sudo clusterctrl disk list
  sudo clusterctrl disk reset p3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var disks disk.Dir
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if disks.Path != node.Disks || cmd.Name() == "disk" {
			return nil
		}
		_, err := onController(cmd)
		return err
	}
	cmd.PersistentFlags().StringVar(&disks.Path, "dir", node.Disks, "the disks are in `DIR`")
	cmd.AddCommand(diskAddCommand(&disks), diskListCommand(&disks), diskResetCommand(&disks),
		diskExportCommand(&disks), diskRemoveCommand(&disks), diskServeCommand(&disks))
	return cmd
}

const diskAddHelp = `Add makes a disk for each of NODES over IMAGE, an image that was built by clusterctrl and
not booted: a controller's or any node's, compressed or not. Add refuses an image that
lacks what a node starts from without a card. Nodes whose disks are over the same image
share it. Without IMAGE, it is the one that the controller's own card brought
(clusterctrl build --with-nodes), which made disks for its nodes at the controller's
first start. A disk has 8 GB, or what --size says; the node's first start extends its
root over that. It takes space on the controller only as it is written to.`

func diskAddCommand(disks *disk.Dir) *cobra.Command {
	var size settings.Size
	cmd := &cobra.Command{
		Use:   "add NODES... [IMAGE]",
		Short: "Make disks over an image",
		Long:  diskAddHelp,
		Example: `  sudo clusterctrl disk add p5
  sudo clusterctrl disk add p5 cluster-p5.img
  sudo clusterctrl disk add p1-p4 p7 cluster-CBRIDGE.img.xz --size 16G`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("disk add: want nodes, and an image if the controller's card brought none")
			}
			nodes, _ := nodesAndImage(args)
			return nodeSets(1)(cmd, nodes)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, image := nodesAndImage(args)
			ids, err := node.ParseSet(nodes, nil)
			if err != nil {
				return usageError{err}
			}
			if image == "" {
				err := disks.AddFromCard(int64(size), ids...)
				if err != nil {
					return needRoot(err)
				}
				return linkDisks(cmd, *disks)
			}
			return addDisks(cmd, *disks, ids, image, int64(size))
		},
	}
	cmd.Flags().Var(&size, "size", "give each node a disk of `SIZE`, such as 16G (default: 8G, or the image's size if that is larger)")
	return cmd
}

// nodesAndImage splits arguments of which the last one may be an image: what names no
// nodes is one.
func nodesAndImage(args []string) (nodes []string, image string) {
	last := len(args) - 1
	if _, err := node.ParseSet(args[last:], nil); err == nil || last == 0 {
		return args, ""
	}
	return args[:last], args[last]
}

func addDisks(cmd *cobra.Command, disks disk.Dir, ids []node.ID, name string, size int64) error {
	in, err := diskimage.Open(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer in.Close()
	show := display(cmd)
	defer show.Wait()
	err = disks.Add(cmd.Context(), disk.Addition{
		Unpack: func(to *os.File) error {
			bar := show.Start("unpack", in.Size())
			defer bar.Close()
			_, err := in.Decode(cmd.Context(), []*os.File{to}, diskimage.Sparse, bar)
			return err
		},
		Sectors: func(image string, ids []node.ID) ([]disk.Sector, error) {
			sectors, err := sectorsOf(image, ids)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return sectors, nil
		},
		Size:     size,
		Progress: show.Start,
	}, ids...)
	show.Wait()
	if err != nil {
		return needRoot(err)
	}
	return linkDisks(cmd, disks)
}

// sectorsOf returns the sector that makes an image that of each node. It refuses an image
// from which no node can start without a card.
func sectorsOf(image string, ids []node.ID) ([]disk.Sector, error) {
	c, err := provision.OpenController(image)
	if inner := errors.Unwrap(err); inner != nil {
		return nil, inner // without the name of a file that the user does not know
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if !c.StartsFromDisk {
		return nil, fmt.Errorf("nodes without cards cannot start from it: no %sinitramfs* in its boot partition: build it anew with --with-nodes, which says what its base lacks", recipe.InitramfsPrefix)
	}
	var sectors []disk.Sector
	for _, id := range ids {
		patch, err := c.Patch(id.Role())
		if err != nil {
			return nil, err
		}
		sectors = append(sectors, disk.Sector{Offset: patch.Offset, Data: [mbr.SectorSize]byte(patch.Data)})
	}
	return sectors, nil
}

// linkDisks has nodes find the boot files on their disks.
func linkDisks(cmd *cobra.Command, disks disk.Dir) error {
	if disks.Path != node.Disks {
		return nil
	}
	return withBoards(cmd, false, (*controller).linkBoot)
}

func diskResetCommand(disks *disk.Dir) *cobra.Command {
	return diskChangeCommand(disks, "reset NODES", "Throw away what nodes changed on their disks",
		"Reset makes disks what they were when they were added: the next start of a node is its\nfirst again.",
		"  sudo clusterctrl disk reset p3\n  sudo clusterctrl disk reset p1-p4 --force", disk.Dir.Reset)
}

func diskRemoveCommand(disks *disk.Dir) *cobra.Command {
	return diskChangeCommand(disks, "remove NODES", "Remove disks",
		"Remove removes the disks of nodes, and each image that no other disk is over.",
		"  sudo clusterctrl disk remove p5\n  sudo clusterctrl disk remove p5-p8", disk.Dir.Remove)
}

const diskForceHelp = `

A disk whose node is connected is left alone. With --force, the node loses its disk while
it runs: cut its power then.`

func diskChangeCommand(disks *disk.Dir, use, short, long, example string, change func(disk.Dir, node.ID) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		Long:              long + diskForceHelp,
		Example:           example,
		Args:              nodeSets(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := disks.IDs()
			if err != nil {
				return err
			}
			ids, err := node.ParseSet(args, all)
			if err != nil {
				return usageError{err}
			}
			var errs []error
			for _, id := range ids {
				errs = append(errs, needRoot(change(*disks, id)))
			}
			return errors.Join(append(errs, linkDisks(cmd, *disks))...)
		},
	}
	cmd.Flags().BoolVar(&disks.Force, "force", false, "also where the node is connected")
	return cmd
}

func diskExportCommand(disks *disk.Dir) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "export NODE FILE",
		Short: "Write a node's disk as an image",
		Long: `Export writes what is on a node's disk to FILE, an ordinary image that can be flashed to
a card. Where the disk was never written to, the file has holes. The node has to be off.`,
		Example:           "  sudo clusterctrl disk export p5 p5.img",
		Args:              exactly(2, "a node and a file"),
		ValidArgsFunction: completeNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := node.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			how := diskimage.Refuse
			if force {
				how = diskimage.Replace
			}
			out, err := diskimage.Create(filepath.Dir(args[1]), how, filepath.Base(args[1]))
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%w; --force replaces it", err)
			}
			if err != nil {
				return err
			}
			defer out.Abort()
			show := display(cmd)
			defer show.Wait()
			if err := disks.Export(cmd.Context(), id, out.Files[0].File, show.Start); err != nil {
				return needRoot(err)
			}
			return out.Commit()
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

// needRoot says what to do where a user may not change disks.
func needRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w; run it as root", err)
	}
	return err
}
