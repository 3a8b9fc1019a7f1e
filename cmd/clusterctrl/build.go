package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/payload"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const buildHelp = `Build makes, from a Raspberry Pi OS image, the images of a cluster: a bridging
controller's (CBRIDGE), a routing controller's (CNAT) and one for each node (p1,
p2 ...). They differ in one word of the kernel command line; each becomes what
it is when it is booted for the first time. The base is not changed.

With --branded, each image is made what it is now: it boots as that at once. The
images then differ in many files, so that making them takes longer, and "nodes"
makes no others of them.

BASE is an .img file, as it is or packed as .xz, .gz, .zst or .zip; "-" is
standard input, "sample" a small image that comes with this program and does
not boot.

With --compress, the images are .img.zst, .img.xz or .img.gz files, which card
writers take as they are. The first is compressed, and the others are copies of it
with the few bytes changed that differ. Where "xz" takes many minutes, "zst" takes
seconds, for files that are a little larger.

Settings are read from --config, or from a clusterctrl.toml or config-local.sh
beside the base. Flags win over files.

Exit status: 0, 1 if something went wrong and nothing was made, 2 if the command
line is wrong.`

const buildExample = `  # a controller and four nodes, into the folder out
  clusterctrl build 2025-05-13-raspios-bookworm-arm64-lite.img.xz --nodes 4 -o out

  # check the download first, and see what would be changed in it
  clusterctrl build base.img.xz --sha256 "$(cut -c 1-64 base.img.xz.sha256)" --dry-run

  # to pass on: compressed, with checksums
  clusterctrl build base.img.xz --compress zst --sums -o out

  # ten nodes that log "anna" in by key, with the network card that Windows 11 has a driver for
  clusterctrl build base.img.xz --nodes 10 --user anna --password-file secret.txt \
      --ssh --authorized-keys ~/.ssh/id_ed25519.pub --gadget ncm -o out`

// buildFlags are the flags of build that are no settings, and those that are.
type buildFlags struct {
	dir, config, sum, compress string
	force, keep, sums, dryRun  bool
	branded                    bool
	json                       bool

	nodes, revision                  int
	noNAT, ssh, autologin            bool
	user, passwordFile, passwordHash string
	keys                             []string
	grow                             settings.Size
	gadget, network, country         string
}

func buildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:     "build BASE -o DIR",
		Short:   "Make controller and node images from a Raspberry Pi OS image",
		Long:    buildHelp,
		Example: buildExample,
		Args:    exactly(1, "BASE, the image to start from"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runBuild(cmd, f, args[0]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.dir, "output", "o", ".", "make the images in `DIR`")
	fl.IntVarP(&f.nodes, "nodes", "n", 0, "make `N` node images, 0 to 252 (default 4)")
	fl.StringVarP(&f.config, "config", "c", "", "read settings from `FILE`")
	fl.StringVar(&f.sum, "sha256", "", "the SHA-256 that the base must have, in `HEX`")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would change in each image as a diff, make nothing")
	fl.BoolVar(&f.force, "force", false, "replace images that exist")
	fl.BoolVar(&f.keep, "keep", false, "keep images that exist, make the others")
	addSums(cmd, &f.sums, "write the images' checksums to SHA256SUMS, which takes longer for each")
	fl.StringVar(&f.compress, "compress", "", "compress the images, as `FORMAT`: zst (fast), xz (small, slow) or gz")
	fl.BoolVar(&f.branded, "branded", false, "make each image now what its first boot would make it")
	fl.BoolVar(&f.noNAT, "no-nat", false, "make no image of a routing controller")
	fl.IntVar(&f.revision, "revision", 1, "revision `N` in the images' names")
	fl.StringVar(&f.user, "user", "", "`NAME` of the first user")
	fl.StringVar(&f.passwordFile, "password-file", "", "read the user's password from the first line of `FILE`")
	fl.StringVar(&f.passwordHash, "password-hash", "", "the user's password as a crypt(5) `HASH`")
	fl.BoolVar(&f.ssh, "ssh", false, "turn the SSH server on")
	fl.StringArrayVar(&f.keys, "authorized-keys", nil, "let in by SSH whoever has a key in `FILE`")
	fl.BoolVar(&f.autologin, "serial-autologin", false, "log the user in on the USB serial console, unasked")
	fl.Var(&f.grow, "grow", "extend the root by `SIZE`, such as 500M (needs resize2fs)")
	fl.StringVar(&f.gadget, "gadget", string(node.RNDIS), "the `CARD` that nodes show on USB: rndis, ncm or ecm")
	fl.StringVar(&f.network, "network", "", "configure this network `PROGRAM` instead of the one found")
	fl.StringVar(&f.country, "wifi-country", "", "`CODE` of the country whose Wi-Fi rules apply, such as DE")
	fl.BoolVar(&f.json, "json", false, "print what was made as JSON")
	completeDir(cmd, "output")
	complete(cmd, "compress", string(packed.Zstd), string(packed.XZ), string(packed.Gzip))
	complete(cmd, "gadget", string(node.RNDIS), string(node.NCM), string(node.ECM))
	complete(cmd, "network", string(rootfs.DHCPCD), string(rootfs.IfUpDown), string(rootfs.NetworkManager))
	return cmd
}

// addSums adds the flag that asks for checksums. The one that scripts forgo them
// with, from when they were made unasked, does nothing.
func addSums(cmd *cobra.Command, sums *bool, usage string) {
	cmd.Flags().BoolVar(sums, "sums", false, usage)
	cmd.Flags().Bool("no-sums", false, "")
	if err := cmd.Flags().MarkHidden("no-sums"); err != nil {
		panic(err) // there is no such flag
	}
}

// complete has shells offer the words that a flag takes.
func complete(cmd *cobra.Command, flag string, words ...cobra.Completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
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
	if f.dryRun && f.json {
		return usagef("--dry-run and --json: want one of them")
	}
	if err := named(cmd, "output", "config", "compress", "password-file"); err != nil {
		return err
	}
	if err := checkInput(cmd, base); err != nil {
		return err
	}
	o := provision.Options{Dir: f.dir, Sums: f.sums, Branded: f.branded, Programs: payload.Programs}
	var err error
	if o.Existing, err = existing(f.force, f.keep); err != nil {
		return err
	}
	if f.compress != "" {
		if o.Format, err = packed.ParseFormat(f.compress); err != nil {
			return usageError{err}
		}
		if f.branded {
			return usagef("--compress and --branded: want one of them: branded images have too little in common")
		}
	}
	if o.Base, o.Input = input(cmd, base); base == sampleBase {
		o.InputName = sample.Name
	}
	if f.sum != "" {
		sum, err := diskimage.ParseSum(f.sum)
		if err != nil {
			return usageError{err}
		}
		o.Sum = &sum
	}
	if o.Time, err = sourceDate(); err != nil {
		return err
	}
	if o.Settings, err = f.settings(cmd, base); err != nil {
		return err
	}
	show := display(cmd)
	defer show.Wait()
	o.Progress = show.Start
	if f.dryRun {
		return provision.DryRun(cmd.Context(), o, cmd.OutOrStdout())
	}
	result, err := provision.Build(cmd.Context(), o)
	if err != nil {
		return explain(err)
	}
	show.Wait()
	return printResult(cmd, result, f.dir, f.json)
}

// named refuses an empty name of a file, mostly a variable that somebody forgot to
// set, where the flag would do nothing then.
func named(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := cmd.Flag(name); f.Changed && f.Value.String() == "" {
			return usagef("--%s is empty: want a name", name)
		}
	}
	return nil
}

// sampleBase stands for the image that comes with this program.
const sampleBase = "sample"

// input says what to open for an image: a file, or standard input and what that is.
func input(cmd *cobra.Command, image string) (name string, stdin io.Reader) {
	if image == sampleBase {
		return diskimage.Stdin, bytes.NewReader(sample.Image)
	}
	return image, cmd.InOrStdin()
}

// checkInput refuses to wait for an image that somebody types.
func checkInput(cmd *cobra.Command, image string) error {
	stdin, ok := cmd.InOrStdin().(*os.File)
	if image == diskimage.Stdin && ok && term.IsTerminal(int(stdin.Fd())) {
		return usagef("standard input is a terminal: want an image, as from \"curl URL | clusterctrl %s -\"", cmd.Name())
	}
	return nil
}

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

// sourceDate is the time that reproducible builds agree on, if one is set
// (reproducible-builds.org/specs/source-date-epoch).
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32) // to 2106; FAT ends in 2107
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970, %d at most", text, uint32(math.MaxUint32))
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// settings reads the settings file and lets the flags that are given win.
func (f buildFlags) settings(cmd *cobra.Command, base string) (settings.Settings, error) {
	file := f.config
	if file == "" && base != diskimage.Stdin && base != sampleBase {
		var err error
		if file, err = settings.Find(filepath.Dir(base)); err != nil {
			return settings.Settings{}, err
		}
	}
	s := settings.Default()
	if file != "" {
		var warnings []string
		var err error
		if s, warnings, err = settings.Load(file); err != nil {
			return s, err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "settings from", file)
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
		}
	}
	if err := f.override(cmd, &s); err != nil {
		return s, err
	}
	if err := s.Check(); err != nil {
		return s, usageError{err}
	}
	if len(s.AuthorizedKeys) > 0 && !s.SSH {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: authorized keys do nothing while the SSH server is off: see --ssh")
	}
	return s, nil
}

func (f buildFlags) override(cmd *cobra.Command, s *settings.Settings) error {
	changed := cmd.Flags().Changed
	set := func(flag string, assign func()) {
		if changed(flag) {
			assign()
		}
	}
	set("nodes", func() { s.SetNodes(f.nodes) })
	set("revision", func() { s.Revision = f.revision })
	set("no-nat", func() { s.NAT = !f.noNAT })
	set("user", func() { s.User = f.user })
	set("password-hash", func() { s.Password, s.PasswordHash = "", f.passwordHash })
	set("ssh", func() { s.SSH = f.ssh })
	set("serial-autologin", func() { s.SerialAutologin = f.autologin })
	set("grow", func() { s.Grow, s.GrowBy = f.grow, nil })
	set("gadget", func() { s.Gadget = f.gadget })
	set("network", func() { s.Network = f.network })
	set("wifi-country", func() { s.WifiCountry = f.country })
	if f.passwordFile != "" {
		line, err := firstLine(f.passwordFile)
		if err != nil {
			return err
		}
		s.Password, s.PasswordHash = line, ""
	}
	for _, file := range f.keys {
		keys, err := readKeys(file)
		if err != nil {
			return err
		}
		s.AuthorizedKeys = append(s.AuthorizedKeys, keys...)
	}
	return nil
}

func firstLine(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", fmt.Errorf("%s: the first line is empty: want a password", file)
	}
	return line, nil
}

func readKeys(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no keys: want lines such as \"ssh-ed25519 AAAA... name\"", file)
	}
	return keys, nil
}

// printResult says on standard output what was made, and on standard error what
// the user should know besides.
func printResult(cmd *cobra.Command, r provision.Result, dir string, asJSON bool) error {
	if asJSON {
		r.Files = append([]string{}, r.Files...) // none is [], not null
		return writeJSON(cmd.OutOrStdout(), r)
	}
	var list strings.Builder
	for _, name := range r.Files {
		list.WriteString(filepath.Join(dir, name) + "\n")
	}
	_, err := io.WriteString(cmd.OutOrStdout(), list.String())
	for _, name := range r.Kept {
		fmt.Fprintln(cmd.ErrOrStderr(), "kept", filepath.Join(dir, name))
	}
	for _, note := range r.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
	}
	return err
}

func println(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return err
}
