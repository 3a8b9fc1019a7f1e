package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const buildHelp = `Build makes, from a Raspberry Pi OS image, the images of a cluster: a bridging
controller's (CBRIDGE), a routing controller's (CNAT) and one for each node (p1,
p2 ...). They differ in one word of the kernel command line; each gets its role when
it is booted for the first time. The base is not changed.

With --branded, each image gets its role now. The images then differ in many files:
they take longer to make, and no others can be made of them later.

--only names the roles that get images. BASE may also be an .img file that build made
and that was neither branded nor booted. Build then makes more images of the same
cluster: of p1 to pN with --nodes N, or of the roles in --only, in BASE's directory
unless -o names another. They have BASE's settings, and all that was changed in BASE
since. Where the file system can share blocks (btrfs, XFS, APFS), 252 nodes take the
space of one.

With --with-nodes N, the controller's image also holds, in a partition of its own, an
image that p1 to pN share: nodes without cards, which start over USB. Only the
controller needs a card then. Build says how large a one.

BASE is an .img file, as it is or packed as .xz, .gz, .zst or .zip, or the http or
https address of one; "-" is standard input, "sample" a small image that comes with
this program and does not boot. An image from an address is checked against the
checksum that lies beside it (.sha256), unless --sha256 gives another.

With --compress, the images are .img.zst, .img.xz or .img.gz files, which card
writers take as they are. Only the first is compressed: the others are copies of it
in which a few bytes differ. Where "xz" takes many minutes, "zst" takes
seconds, for files that are a little larger.

With --usbboot, build also makes the archive of a root for nodes without cards, which
start from the controller over USB: copy it there, and "clusterctrl usbboot add" makes
nodes of it. Their network card is ecm, unless --gadget or the settings name another.
The archive is packed as tar.zst, as tar.xz, which is smaller and takes many minutes, or
not at all (tar).

Settings are read from --config, or from a clusterctrl.toml or config-local.sh
beside the base. Flags win over files.

Exit status: 0, 1 if something went wrong and nothing was made, 2 if the command
line is wrong.`

const buildExample = `  # a controller and four nodes, into the folder out
  clusterctrl build 2025-05-13-raspios-bookworm-arm64-lite.img.xz --nodes 4 -o out

  # check the download first, and see what would be changed in it
  clusterctrl build base.img.xz --sha256 "$(cut -c 1-64 base.img.xz.sha256)" --dry-run

  # images of more nodes, later, beside the controller's
  clusterctrl build out/*-CBRIDGE.img --only p5-p8

  # to pass on: compressed, with checksums
  clusterctrl build base.img.xz --compress zst --sums -o out

  # nodes without cards: the controller's image, and what "usbboot add" takes there
  clusterctrl build base.img.xz --nodes 0 --usbboot -o out

  # one card for a controller and four nodes without cards
  clusterctrl build base.img.xz --with-nodes 4 --no-nat -o out

  # ten nodes that log "anna" in by key, with the network card that Windows 11 has a driver for
  clusterctrl build base.img.xz --nodes 10 --user anna --password-file secret.txt \
      --ssh --authorized-keys ~/.ssh/id_ed25519.pub --gadget ncm -o out`

// buildFlags are the flags of build that are no settings, and those that are.
type buildFlags struct {
	contentFlags
	dir, compress, usbboot string
	force, keep, sums      bool
	dryRun, stat, json     bool
	nodes, revision        int
	withNodes              int
	only                   []string
	noNAT                  bool
}

func buildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:     "build BASE -o DIR | build IMAGE {--nodes N | --only ROLES}",
		Short:   "Make controller and node images from a Raspberry Pi OS image",
		Long:    buildHelp,
		Example: buildExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && cmd.Flags().Changed("usbboot") {
				return usagef("build: got %d arguments: want BASE, the image to start from; a format is written --usbboot=FORMAT", len(args))
			}
			return exactly(1, "BASE, the image to start from")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runBuild(cmd, f, args[0]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.dir, "output", "o", "", "make the images in `DIR` (default: here, or beside IMAGE)")
	fl.IntVarP(&f.nodes, "nodes", "n", 0, "make `N` node images, 0 to 252 (default 4)")
	fl.IntVar(&f.withNodes, "with-nodes", 0, "give `N` nodes without cards an image to share on the controller's card, and make no others")
	fl.StringSliceVar(&f.only, "only", nil, "make the images of these `ROLES` and no others: p5, p7-p9, cnat ...")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would change in each image as a diff, make nothing")
	fl.BoolVar(&f.stat, "stat", false, "with --dry-run, list the files that would change, without the diff")
	fl.BoolVar(&f.force, "force", false, "replace images that exist")
	fl.BoolVar(&f.keep, "keep", false, "keep images that exist, make the others")
	addSums(cmd, &f.sums, "write the images' checksums to SHA256SUMS, which takes longer for each")
	fl.StringVar(&f.compress, "compress", "", "compress the images, as `FORMAT`: zst (fast), xz (small, slow) or gz")
	fl.StringVar(&f.usbboot, "usbboot", "", "make an archive for nodes without cards, too, as `FORMAT`: tar.zst, tar.xz or tar")
	fl.Lookup("usbboot").NoOptDefVal = string(nfsroot.TarZstd)
	fl.BoolVar(&f.noNAT, "no-nat", false, "make no image of a routing controller")
	fl.IntVar(&f.revision, "revision", 1, "revision `N` in the images' names")
	f.addFlags(cmd)
	fl.BoolVar(&f.json, "json", false, "print what was made as JSON")
	completeDir(cmd, "output")
	complete(cmd, "usbboot", nfsroot.TarZstd, nfsroot.TarXZ, nfsroot.Tar)
	complete(cmd, "compress", packed.Zstd, packed.XZ, packed.Gzip)
	return cmd
}

// addSums adds the flag that asks for checksums. The hidden --no-sums does nothing:
// scripts may have it from versions that made checksums unasked.
func addSums(cmd *cobra.Command, sums *bool, usage string) {
	cmd.Flags().BoolVar(sums, "sums", false, usage)
	cmd.Flags().Bool("no-sums", false, "")
	if err := cmd.Flags().MarkHidden("no-sums"); err != nil {
		panic(err) // there is no such flag
	}
}

// complete has shells offer the words that a flag takes.
func complete[W ~string](cmd *cobra.Command, flag string, words ...W) {
	var completions []cobra.Completion
	for _, w := range words {
		completions = append(completions, string(w))
	}
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(completions, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// completeDir has shells offer directories for a flag.
func completeDir(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagDirname(flag); err != nil {
		panic(err) // there is no such flag
	}
}

func runBuild(cmd *cobra.Command, f buildFlags, base string) error {
	if f.stat && !f.dryRun {
		return usagef("--stat does nothing without --dry-run")
	}
	if err := named(cmd, "output", "compress", "usbboot"); err != nil {
		return err
	}
	existing, err := existing(f.force, f.keep)
	if err != nil {
		return err
	}
	format, err := f.format()
	if err != nil {
		return err
	}
	archive, err := f.archive()
	if err != nil {
		return err
	}
	only, err := f.onlyRoles(cmd)
	if err != nil {
		return err
	}
	if err := f.checkWithNodes(cmd); err != nil {
		return err
	}
	if role, built := provision.BuiltRole(base); built {
		return f.more(cmd, base, role, provision.MoreOptions{Roles: only, Existing: existing, Format: format})
	}
	o, closeBase, err := f.options(cmd, base, f.override)
	if err != nil {
		return err
	}
	defer closeBase()
	o.Dir, o.Existing, o.Sums, o.Format, o.NFSRoot, o.Only = cmp.Or(f.dir, "."), existing, f.sums, format, archive, only
	o.WithNodes = f.withNodes
	show := display(cmd)
	defer show.Wait()
	o.Progress = show.Start
	if f.dryRun {
		return f.preview(cmd, func(show func(provision.Preview) error) error { return provision.DryRun(cmd.Context(), o, show) })
	}
	result, err := provision.Build(cmd.Context(), o)
	if err != nil {
		return explain(err)
	}
	show.Wait()
	if err := printResult(cmd, result, f); err != nil {
		return err
	}
	if base == sampleBase {
		say(cmd, "\nThis is the sample: its images show what changes, and do not boot.")
	}
	return nil
}

// onlyRoles are the roles that --only names, none if it is not given.
func (f buildFlags) onlyRoles(cmd *cobra.Command) ([]node.Role, error) {
	if err := named(cmd, "only"); err != nil || len(f.only) == 0 {
		return nil, err
	}
	for _, flag := range []string{"nodes", "no-nat"} {
		if cmd.Flags().Changed(flag) {
			return nil, usagef("--%s and --only: want one of them", flag)
		}
	}
	return parseRoles(f.only)
}

// checkWithNodes refuses what makes no sense beside nodes that share an image.
func (f buildFlags) checkWithNodes(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("with-nodes") {
		return nil
	}
	for _, flag := range []string{"nodes", "only", "branded"} {
		if cmd.Flags().Changed(flag) {
			return usagef("--%s and --with-nodes: want one of them", flag)
		}
	}
	if f.withNodes < 1 || f.withNodes > int(node.MaxID) {
		return usagef("--with-nodes %d: want 1 to %d", f.withNodes, node.MaxID)
	}
	return nil
}

// format is how the images are to be compressed, if they are.
func (f buildFlags) format() (packed.Format, error) {
	if f.compress == "" {
		return "", nil
	}
	format, err := packed.ParseFormat(f.compress)
	if err != nil {
		return "", usageError{err}
	}
	if f.branded {
		return "", usagef("--compress and --branded: want one of them: branded images have too little in common")
	}
	return format, nil
}

// archive is how the archive for nodes without cards is to be packed, if there is to be
// one.
func (f buildFlags) archive() (nfsroot.Format, error) {
	if f.usbboot == "" {
		return "", nil
	}
	format, err := nfsroot.ParseFormat(f.usbboot)
	if err != nil {
		return "", usageError{err}
	}
	return format, nil
}

// named refuses an empty value, mostly a variable that the user forgot to set, where the
// flag would do nothing then.
func named(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := cmd.Flag(name)
		list, isList := f.Value.(pflag.SliceValue)
		if f.Changed && (f.Value.String() == "" || isList && !slices.ContainsFunc(list.GetSlice(), isNotEmpty)) {
			return usagef("--%s is empty: want a value", name)
		}
	}
	return nil
}

func isNotEmpty(s string) bool { return s != "" }

// explain adds to an error which flags help.
func explain(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; --force replaces it, --keep leaves it as it is", err)
	}
	return err
}

// existing says what becomes of images that exist.
func existing(force, keep bool) (diskimage.Existing, error) {
	switch {
	case force && keep:
		return 0, usagef("--force and --keep: want one of them")
	case force:
		return diskimage.Replace, nil
	case keep:
		return diskimage.Keep, nil
	}
	return diskimage.Refuse, nil
}

// override lets flags win over settings that are about a set of images.
func (f buildFlags) override(s *settings.Settings, set func(flag string, assign func())) {
	set("nodes", func() { s.SetNodes(f.nodes) })
	set("with-nodes", func() { s.SetNodes(0) })
	set("revision", func() { s.Revision = f.revision })
	set("no-nat", func() { s.NAT = !f.noNAT })
}

// printResult says on standard output what was made, and on standard error what
// the user should know besides.
func printResult(cmd *cobra.Command, r provision.Result, f buildFlags) error {
	if f.json {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	var list strings.Builder
	for _, file := range r.Files {
		list.WriteString(filepath.Join(r.Dir, file.Name) + "\n")
	}
	_, err := io.WriteString(cmd.OutOrStdout(), list.String())
	for _, file := range r.Kept {
		fmt.Fprintln(cmd.ErrOrStderr(), "kept", filepath.Join(r.Dir, file.Name))
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
	}
	for _, note := range r.Notes {
		say(cmd, "note: %s", note)
	}
	afterBuild(cmd, r, f.branded)
	return err
}

func println(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return err
}
