// Package provision turns a vendor's image into the images of a cluster.
//
// The base is decoded once, into every output at the same time where a file
// system cannot share blocks, else into one that the others are then clones of.
// What makes it a controller's image is decided by package recipe and applied
// through an editor of its file systems, without mounting anything. The images
// of one build differ in a single sector, which holds the kernel command line
// and in it the role. No output has its name before all are complete.
package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Options say what to build.
type Options struct {
	Base      string    // file name of the base image, or "-" for Input
	Input     io.Reader // what "-" stands for
	InputName string    // the name that the image in Input was published under, if known
	Sum       *diskimage.Sum

	Dir      string
	Existing diskimage.Existing
	Sums     bool           // write SHA256SUMS
	Branded  bool           // make each image now what its first boot would make it
	Format   packed.Format  // compress them so, if it is not empty; Branded must be false
	NFSRoot  nfsroot.Format // make an archive of a root for nodes without cards, too, if it is not empty

	// WithNodes is for how many nodes, which have no cards, a controller's image also
	// holds an image that they share, 0 for none. Only controllers get images then.
	WithNodes int

	Only     []node.Role       // make the images of these roles; empty: those that Settings ask for
	Settings settings.Settings // checked ones
	Time     time.Time         // stamped on what is changed; zero: when the base was last written
	Version  string            // of this program, for the images to say; empty: they do not

	// Programs returns our programs, built for an architecture, by their paths on the
	// Pi.
	Programs func(rootfs.Arch) (map[string][]byte, error)
	// USBRoot returns the one that nodes without cards start first, for NFSRoot.
	USBRoot func(rootfs.Arch) ([]byte, error)

	Progress Progress
	Warn     func(string) // says at once what may go wrong later; nil: warnings are dropped
}

// Progress starts to show how far a piece of work of total bytes is; total is 0 if that
// is not known. Bytes that are written to the writer are done, and closing it ends the
// display.
type Progress func(what string, total int64) io.WriteCloser

// start calls p, which may be nil.
func (p Progress) start(what string, total int64) io.WriteCloser {
	if p == nil {
		return silent{}
	}
	return p(what, total)
}

type silent struct{}

func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) Close() error                { return nil }

// fanOut is how many files are written at once while the base is decoded. With more, each
// would get too little at a time: further files are copied afterwards.
const fanOut = 8

// Build makes a controller's image, and those of the other roles, out of a base.
func Build(ctx context.Context, o Options) (Result, error) {
	in, err := o.open()
	if err != nil {
		return Result{}, err
	}
	defer in.Close()
	guess := o.guess(in)
	o.warnOfOthers(guess)
	set, err := diskimage.Create(o.Dir, o.Existing, fileNames(o.targets(guess))...)
	if err != nil {
		return Result{}, err
	}
	defer set.Abort()
	if len(set.Files) == 0 && guess.complete() {
		return newResult(o.Dir, set, nil, remarks{}, o.targets(guess))
	}
	b := build{Options: o, set: set}
	if images, _ := b.outputs(); o.Format != "" || len(images) == 0 {
		if b.loose, err = diskimage.Create(o.Dir, diskimage.Replace, "controller.img"); err != nil {
			return Result{}, err
		}
		defer b.loose.Abort()
	}
	if err := checkSpace(o.Dir, in, b.copies(), o.Warn); err != nil {
		return Result{}, err
	}
	if err := b.decode(ctx, in); err != nil {
		return Result{}, err
	}
	if err := b.edit(ctx, guess); err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.imageName(in), err)
	}
	if err := b.addNodes(ctx); err != nil {
		return Result{}, err
	}
	if err := b.rename(); err != nil {
		return Result{}, err
	}
	return b.finish(ctx)
}

func (o Options) open() (*diskimage.Input, error) {
	in, err := diskimage.Open(o.Base, o.Input)
	if err == nil && o.Sum != nil {
		in.Expect(*o.Sum)
	}
	return in, err
}

// imageName is the name under which the base was published, as far as it is known.
func (o Options) imageName(in *diskimage.Input) string {
	if o.InputName != "" {
		return o.InputName
	}
	return in.ImageName()
}

// guess returns what is known of the base before it is unpacked: by its name, and where
// it is not packed, by what is in it.
func (o Options) guess(in *diskimage.Input) name {
	guess := guessName(o.imageName(in))
	if raw := in.Raw(); raw != nil {
		image, err := rootfs.OpenImage(raw, in.Size())
		if err != nil {
			return guess // what is wrong comes to light later
		}
		if system, err := rootfs.Identify(image); err == nil {
			return guess.corrected(system, image.Root.Time())
		}
	}
	return guess
}

// A build is a Build in progress.
type build struct {
	Options
	set    *diskimage.Outputs
	ready  int                // so many of set.Files hold the image
	loose  *diskimage.Outputs // where no output holds the image as it is: a file that does
	size   int64
	system recipe.System
	base   name // what the base is called by what is in it; edit finds out
	line   commandLine
	remarks
}

// decode fills as many outputs as is good to fill at once, at least one.
func (b *build) decode(ctx context.Context, in *diskimage.Input) error {
	layout := diskimage.Sparse
	images, _ := b.outputs()
	b.ready = min(len(images), fanOut)
	switch {
	case b.loose != nil:
		b.ready = 0
	case diskimage.SharesBlocks(b.Dir):
		layout, b.ready = diskimage.FewExtents, 1
	case b.Settings.Grows(), b.WithNodes > 0:
		b.ready = 1 // they work on one file
	}
	var files []*os.File
	for _, f := range b.raw() {
		files = append(files, f.File)
	}
	progress := b.Progress.start("unpack", in.Size())
	defer progress.Close()
	var err error
	b.size, err = in.Decode(ctx, files, layout, progress)
	debug.FreeOSMemory() // of the decoders' blocks: the rest takes little
	return err
}

// raw returns the files that hold the image as it is.
func (b *build) raw() []*diskimage.Output {
	if b.loose != nil {
		return b.loose.Files
	}
	return b.set.Files[:b.ready]
}

// edit makes the first files the controller's image. The guess is what the base's own
// name tells.
func (b *build) edit(ctx context.Context, guess name) error {
	if err := b.grow(ctx); err != nil {
		return err
	}
	image, err := rootfs.OpenImage(together(b.raw()), b.size)
	if err != nil {
		return err
	}
	system, plan, err := b.plan(image)
	if err != nil {
		return err
	}
	if err := checkRoom(together(b.raw()), b.size, plan, b.roles(system.Flavour)); err != nil {
		return err
	}
	theirs, err := recipe.MadeByShell(image)
	if err != nil {
		return err
	}
	if err := plan.Apply(image); err != nil {
		return tooFull(err)
	}
	if b.line, err = readCommandLine(image); err != nil {
		return err
	}
	b.base = guess.corrected(system.OS, image.Root.Time())
	b.system, b.remarks = system, remarksOn(image, system)
	if theirs {
		b.Notes = append(b.Notes, "the base is an image of the shell scripts: their programs, units, blocks and lines are taken out; "+node.SettingsFile+" is kept, if there is one")
	}
	return image.Close()
}

// tooFull says what to do where a file system has no room.
func tooFull(err error) error {
	switch {
	case errors.Is(err, ext4.ErrNoSpace):
		return fmt.Errorf("root partition: %w: make room with --grow 200M", err)
	case errors.Is(err, fat.ErrNoSpace):
		return fmt.Errorf("boot partition: %w", err)
	}
	return err
}

// plan finds out what has to change to make an image a controller's.
func (o Options) plan(image *rootfs.Image) (recipe.System, edit.Plan, error) {
	system, err := o.system(image)
	if err != nil {
		return recipe.System{}, nil, err
	}
	programs, err := o.Programs(system.Arch)
	if err != nil {
		return recipe.System{}, nil, err
	}
	image.SetTime(o.timeOf(image))
	edits := recipe.Controller(system, programs)
	start, err := o.diskStart(image, system)
	if err != nil && o.WithNodes > 0 {
		return recipe.System{}, nil, fmt.Errorf("nodes without cards cannot start from it: %w", err)
	}
	plan, err := edit.NewPlan(image, append(edits, start...))
	return system, plan, err
}

// system says what the base is and what the user wants of it.
func (o Options) system(image *rootfs.Image) (recipe.System, error) {
	system := recipe.System{Settings: o.recipeSettings(), Version: o.Version}
	var err error
	if system.WifiKey, err = o.Settings.WifiKey(); err != nil {
		return system, err
	}
	if system.OS, err = rootfs.Identify(image); err != nil {
		return system, err
	}
	if wanted := rootfs.NetworkProgram(o.Settings.Network); wanted != "" {
		if !wanted.Installed(image) {
			return system, fmt.Errorf("network %s is not in the image: it has %s", wanted, system.Network)
		}
		system.Network = wanted
	}
	if err := system.CheckWifi(image); err != nil {
		return system, err
	}
	words, err := commandLineWords(image)
	if err != nil {
		return system, err
	}
	theirs, err := recipe.MadeByShell(image)
	if err != nil {
		return system, err
	}
	if role, pending := recipe.PendingRole(words); pending && !theirs {
		return system, fmt.Errorf("it is an image of %v already: for more nodes, unpack it into a file, and build from that", role)
	}
	if len(o.Only) > 0 && isBranded(image) && !theirs {
		return system, errors.New("it was branded or booted: for more nodes, want an image that was built by clusterctrl, not branded and not booted")
	}
	return system, nil
}

// recipeSettings are the settings that end up in an image.
func (o Options) recipeSettings() recipe.Settings {
	s := o.Settings
	return recipe.Settings{
		User:            s.User,
		PasswordHash:    s.Hash(),
		SSH:             s.SSH,
		AuthorizedKeys:  s.AuthorizedKeys,
		SerialAutologin: s.SerialAutologin,
		Gadget:          cmp.Or(node.Gadget(s.Gadget), node.RNDIS),
		WifiCountry:     s.WifiCountry,
		WifiSSID:        s.WifiSSID,
		TimeZone:        s.TimeZone,
		Locale:          s.Locale,
		Keyboard:        s.Keyboard,
	}
}

func (o Options) timeOf(image *rootfs.Image) time.Time {
	if !o.Time.IsZero() {
		return o.Time
	}
	return image.Root.Time()
}

// rename gives the outputs the names that follow from what the base turned out to be,
// where its own name told something else. It closes outputs that are not needed, so it
// must come after what is written to all.
func (b *build) rename() error {
	if err := b.set.SetNames(fileNames(b.targets(b.base))...); err != nil {
		return err
	}
	images, _ := b.outputs()
	b.ready = min(b.ready, len(images))
	return spareBase(b.Base, b.Dir, b.set)
}

// outputs returns the files that become images, and the one that becomes the archive,
// nil if there is none to be made.
func (b *build) outputs() (images []*diskimage.Output, archive *diskimage.Output) {
	images = b.set.Files
	if last := len(images) - 1; last >= 0 && b.NFSRoot != "" && strings.HasSuffix(images[last].Final, b.archiveSuffix()) {
		return images[:last], images[last]
	}
	return images, nil
}

// finish makes the other outputs, each the image of its role, and the archive, and names
// all.
func (b *build) finish(ctx context.Context) (Result, error) {
	all := b.targets(b.base)
	if len(b.set.Files) == 0 {
		return newResult(b.Dir, b.set, &b.system.OS, b.remarks, all)
	}
	images, archive := b.outputs()
	outputs, err := b.line.outputs(images, all)
	if err != nil {
		return Result{}, err
	}
	raw := b.raw()[0].File
	if archive != nil {
		if err := b.archive(ctx, raw, archive); err != nil {
			return Result{}, fmt.Errorf("%s: %w", archive.Final, err)
		}
	}
	f := family{image: raw, set: b.set, outputs: outputs, ready: b.ready, branded: b.Branded, progress: b.Progress}
	if b.Format != "" && len(outputs) > 0 {
		if err := pack(ctx, b.Format, raw, b.size, b.line.offset, outputs, b.Progress); err != nil {
			return Result{}, err
		}
		f.image, f.ready = outputs[0].File, 1
	}
	if err := f.complete(ctx, b.Sums); err != nil {
		return Result{}, err
	}
	return newResult(b.Dir, b.set, &b.system.OS, b.remarks, all)
}
