package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
)

const reconfigHelp = `Reconfig gives an image, or a directory with the files of a Pi, its ROLE in the
cluster: cbridge, cnat, or a node such as p7. A Pi does the same by itself when it
boots for the first time; after reconfig, the image boots with its role at once.

The image may be a card in a reader, such as /dev/sdb, of which no partition is
mounted.

Under the name reconfig-clusterctrl, started by the kernel through init=, the program
does the same to the running Pi and restarts it.`

const reconfigExample = `  # see what would change, then change it
  clusterctrl reconfig p7 --image card.img --dry-run
  clusterctrl reconfig p7 --image card.img

  # a card in a reader
  sudo clusterctrl reconfig p7 --image /dev/sdb

  # the root of a node that boots over USB
  sudo clusterctrl reconfig p7 --root /srv/p7`

// target is the tree that a command works on.
type target struct{ dir, image string }

func (t *target) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.image, "image", "", "the tree is in the disk image `FILE`")
	cmd.Flags().StringVar(&t.dir, "root", "", "the tree is in the directory `DIR`")
	completeDir(cmd, "root")
}

// open opens the tree; mode is that of the image, as for [os.OpenFile]. commit
// writes what was changed; it is called at most once, done always.
func (t target) open(mode int) (tree rootfs.Tree, commit, done func() error, err error) {
	if (t.dir == "") == (t.image == "") {
		return nil, nil, nil, usagef("want --image or --root, one of them")
	}
	if t.dir != "" {
		dir, err := rootfs.OpenDir(t.dir)
		if err != nil {
			return nil, nil, nil, err
		}
		return dir, func() error { return nil }, dir.Close, nil
	}
	image, disk, err := openImage(t.image, mode)
	if err != nil {
		return nil, nil, nil, err
	}
	return image, func() error { return errors.Join(image.Close(), disk.Sync()) }, disk.Close, nil
}

// openImage opens an image, or the disk with one, such as a card in a reader.
func openImage(name string, mode int) (*rootfs.Image, *os.File, error) {
	in, err := diskimage.OpenRaw(name)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	disk, err := openDisk(name, mode)
	if err != nil {
		return nil, nil, err
	}
	image, err := rootfs.OpenImage(disk, in.Size())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", name, err), disk.Close())
	}
	image.SetTime(time.Now())
	return image, disk, nil
}

// openDisk opens a file or a disk. With O_EXCL, which means something else for files,
// Linux refuses to open a disk of which a partition is mounted.
func openDisk(name string, mode int) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().Type() == fs.ModeDevice && mode != os.O_RDONLY {
		mode |= os.O_EXCL
	}
	disk, err := os.OpenFile(name, mode, 0)
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("%w: unmount its partitions first", err)
	}
	return disk, err
}

func (t target) name() string { return t.image + t.dir }

func reconfigCommand() *cobra.Command {
	var t target
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "reconfig ROLE {--image FILE | --root DIR}",
		Short:             "Make an image or a directory another member of the cluster",
		Long:              reconfigHelp,
		Example:           reconfigExample,
		Args:              exactly(1, "ROLE: cbridge, cnat, or p1 to p252"),
		ValidArgsFunction: completeRole,
		RunE: func(cmd *cobra.Command, args []string) error {
			role, err := node.ParseRole(args[0])
			if err != nil {
				return usageError{err}
			}
			mode := os.O_RDWR
			if dryRun {
				mode = os.O_RDONLY
			}
			changed := 0
			err = t.with(role, mode, func(tree rootfs.Tree, branding recipe.Branding) (bool, error) {
				plan := branding.Plan()
				if dryRun {
					return false, plan.WriteDiff(cmd.OutOrStdout())
				}
				changed = len(plan)
				return true, branding.Apply(tree)
			})
			if err == nil && !dryRun {
				say(cmd, "%s is %v now: %d files changed", t.name(), role, changed)
			}
			return err
		},
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what would change as a diff, change nothing")
	return cmd
}

const verifyHelp = `Verify checks whether an image, or a directory with the files of a Pi, has all that
its ROLE in the cluster needs. It prints every deviation as a diff from what it found
to what the role needs, and changes nothing.

Exit status: 0 if nothing deviates, 1 if something does, 2 if the command line is
wrong.`

// A verifyReport is what verify found, as JSON.
type verifyReport struct {
	Schema  int             `json:"schema"`
	File    string          `json:"file"` // or directory
	Role    string          `json:"role"`
	OK      bool            `json:"ok"`
	Pending string          `json:"pending"` // the role that the first boot, which is to come, gives; "" for none
	All     []edit.FileStat `json:"changes"` // what would make it what it should be
}

func verifyCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "verify ROLE {--image FILE | --root DIR}",
		Short:             "Say how an image or a directory deviates from a role",
		Long:              verifyHelp,
		Example:           "  clusterctrl verify p7 --image card.img",
		Args:              exactly(1, "ROLE: cbridge, cnat, or p1 to p252"),
		ValidArgsFunction: completeRole,
		RunE: func(cmd *cobra.Command, args []string) error {
			role, err := node.ParseRole(args[0])
			if err != nil {
				return usageError{err}
			}
			return t.with(role, os.O_RDONLY, func(tree rootfs.Tree, branding recipe.Branding) (bool, error) {
				plan, pending := branding.Plan(), toCome(tree)
				deviates := fmt.Errorf("%s deviates from %v in %d files%s", t.name(), role, len(plan), comes(pending))
				if asJSON {
					r := verifyReport{provision.Schema, t.name(), role.String(), len(plan) == 0, pending, plan.Stat()}
					if err := writeJSON(cmd.OutOrStdout(), r); err != nil || r.OK {
						return false, err
					}
					return false, toldError{deviates}
				}
				if len(plan) == 0 {
					say(cmd, "%s is %v, in all that %v needs", t.name(), role, role)
					return false, nil
				}
				return false, cmp.Or(plan.WriteDiff(cmd.OutOrStdout()), deviates)
			})
		},
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// comes says in words which role is to come.
func comes(role string) string {
	if role == "" {
		return ""
	}
	return "; its first boot, which is to come, makes it " + role
}

// toCome returns the role that a tree is to get at its first boot, "" for none.
func toCome(tree rootfs.Tree) string {
	found, err := rootfs.Identify(tree)
	if err != nil {
		return ""
	}
	text, err := rootfs.ReadText(tree, path.Join(found.BootDir, rootfs.CommandLine))
	if err != nil {
		return ""
	}
	words, err := edit.ParseCommandLine(string(text))
	if err != nil {
		return ""
	}
	if role, pending := recipe.PendingRole(words); pending {
		return role.String()
	}
	return ""
}

// with plans the changes that give the tree the role, and has use look at them or
// make them; then it commits what use made.
func (t target) with(role node.Role, mode int, use func(rootfs.Tree, recipe.Branding) (made bool, err error)) (err error) {
	tree, commit, done, err := t.open(mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	branding, err := recipe.Plan(tree, role)
	if err != nil && !isOurs(tree) {
		err = errors.New("no " + node.ReconfigPath[1:] + " in it: want what \"clusterctrl build\" made")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.name(), err)
	}
	made, err := use(tree, branding)
	if err != nil || !made {
		return err
	}
	return commit()
}

// isOurs reports whether this program is in the tree, as in all that it built.
func isOurs(tree rootfs.Tree) bool {
	_, err := tree.Stat(node.ReconfigPath[1:])
	return err == nil
}
