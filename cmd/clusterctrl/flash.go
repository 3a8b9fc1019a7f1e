package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"clusterctrl/internal/image/card"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const flashHelp = `Flash writes cards: from a Raspberry Pi OS image, from a controller's image that
"clusterctrl build" made, or from any other image. No image files are made.

A TARGET is ROLE=CARD, such as p1=/dev/sdb, or cnat=/dev/disk/by-id/...: the card
gets the image that "build" would make for that role, with the same flags. Or a
TARGET is CARD alone: the card gets IMAGE unchanged. All cards are written at the
same time, then read back and compared.

The partition table comes last: a card that was not finished does not boot, and no
computer takes it for a good one. The free space of file systems is skipped, so that
it may still hold what was on the card before; --full overwrites it.

With --next, cards are written one after the other in one reader. TARGETS are roles
then, such as cnat p1-p8: put a card in, wait, take it out, and so on. The file in
--journal notes which cards were written, so that the same command goes on another day.

Flash writes only to disks that are removable, on USB, or SD cards, and that are not
in use; it shows each disk and asks. --list shows all disks.

IMAGE is what "build" takes. It is unpacked into a temporary file first (in TMPDIR
or /var/tmp); no card is touched before all of IMAGE was unpacked without errors.

Exit status: 0, 1 if a card is not good or something else went wrong, 2 if the
command line is wrong, 130 if Ctrl-C ended it before all cards were written, also
between two cards.`

const flashExample = `  # the cards that flash could write to
  clusterctrl flash --list

  # from the vendor's image to a controller's card and two nodes', in three readers
  sudo clusterctrl flash 2025-05-13-raspios-bookworm-arm64-lite.img.xz cnat=/dev/sdb p1=/dev/sdc p2=/dev/sdd

  # eight nodes' cards in one reader
  sudo clusterctrl flash out/*-CBRIDGE.img p1-p8 --next

  # any image, unchanged; and into a file in place of a card
  sudo clusterctrl flash 2025-05-13-raspios-bookworm-arm64-lite.img.xz /dev/sdb
  clusterctrl flash --file sample p2=card.img`

// flashFlags are the flags of flash.
type flashFlags struct {
	contentFlags
	list, next, file, yes         bool
	full, noVerify, discard, json bool
	anyDisk                       bool
	maxSize                       settings.Size
	journal                       string
}

func flashCommand() *cobra.Command {
	f := flashFlags{maxSize: 256 << 30}
	cmd := &cobra.Command{
		Use:     "flash IMAGE TARGET... | flash --list",
		Short:   "Write cards for controllers and nodes",
		Long:    flashHelp,
		Example: flashExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return exactly(0, "none with --list")(cmd, args)
			}
			return arguments(2, int(node.MaxID)+3, "IMAGE and one TARGET at least, such as p1=/dev/sdb")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.list:
				return listCards(cmd, f)
			case f.next:
				return f.runNext(cmd, args[0], args[1:])
			}
			return f.run(cmd, args[0], args[1:])
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVar(&f.list, "list", false, "list all disks, and say why a disk is no card")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask: what is on the cards may go")
	fl.BoolVar(&f.next, "next", false, "write one card after the other in one reader")
	fl.StringVar(&f.journal, "journal", "clusterctrl-flash.jsonl", "with --next, note in `FILE` which cards were written")
	fl.BoolVar(&f.file, "file", false, "targets are plain files, made if they are not there")
	fl.BoolVar(&f.full, "full", false, "overwrite the free space of file systems too")
	fl.BoolVar(&f.noVerify, "no-verify", false, "do not read back: a bad card shows when the Pi does not boot")
	fl.BoolVar(&f.discard, "discard", false, "first have the card forget all that is on it, if it can")
	fl.Var(&f.maxSize, "max-size", "take a disk of up to `SIZE` for a card")
	fl.BoolVar(&f.anyDisk, "any-disk", false, "take also disks that are neither removable nor on USB nor SD cards")
	fl.Lookup("max-size").DefValue = "256G"
	f.addFlags(cmd)
	fl.BoolVar(&f.json, "json", false, "print progress and results as JSON, an object a line")
	return cmd
}

func (f flashFlags) policy() card.Policy {
	return card.Policy{MaxSize: int64(f.maxSize), Any: f.anyDisk}
}

// A cardTarget is what is to be written where.
type cardTarget struct {
	role *node.Role // nil: the image as it is
	disk card.Disk
}

func (t cardTarget) name() string {
	if t.role == nil {
		return ""
	}
	return t.role.String()
}

// parseTargets reads targets such as p1=/dev/sdb, or /dev/sdb.
func parseTargets(words []string, files bool) ([]cardTarget, error) {
	var targets []cardTarget
	for _, word := range words {
		var t cardTarget
		path := word
		if name, rest, ok := strings.Cut(word, "="); ok && !strings.Contains(name, "/") {
			role, err := node.ParseRole(name)
			if err != nil {
				return nil, usageError{err}
			}
			t.role, path = &role, rest
		} else if _, err := node.ParseSet([]string{word}, nil); err == nil {
			return nil, usagef("%s: want a card for each role, such as p1=/dev/sdb, or --next", word)
		}
		if path == "" {
			return nil, usagef("%s: no card: want one such as /dev/sdb", word)
		}
		var err error
		if t.disk, err = card.Find(path, files); err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, checkTogether(targets)
}

// checkTogether refuses flags that make no sense together.
func checkTogether(targets []cardTarget) error {
	for i, t := range targets {
		for _, u := range targets[:i] {
			switch {
			case card.Same(t.disk, u.disk):
				return fmt.Errorf("%s and %s: one card: want a card for each target", u.disk.Path, t.disk.Path)
			case (t.role == nil) != (u.role == nil):
				return usagef("some targets have a role and some have none: want one for each, or for none")
			case t.role != nil && *t.role == *u.role:
				return usagef("%v twice: want a role for each card", *t.role)
			}
		}
	}
	return nil
}

// run writes cards at the same time.
func (f flashFlags) run(cmd *cobra.Command, image string, words []string) error {
	if f.file {
		if err := refuseSettings(cmd, []string{"max-size", "any-disk", "discard"}, "with --file, no disk is written to"); err != nil {
			return err
		}
	}
	targets, err := parseTargets(words, f.file)
	if err != nil {
		return err
	}
	if targets[0].role == nil {
		if err := refuseSettings(cmd, append([]string{"branded"}, settingFlags...), "without a role, the image is written as it is"); err != nil {
			return err
		}
	}
	for _, t := range targets { // as much as can be said before the image is read
		if err := f.policy().Check(t.disk, 0); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(targets, func(t cardTarget) bool { return !t.disk.IsNew() }) {
		if err := f.canAsk(cmd); err != nil {
			return err
		}
	}
	src, done, err := f.open(cmd, image)
	if err != nil {
		return err
	}
	defer done()
	jobs, err := f.jobs(cmd.Context(), src, targets)
	if err != nil {
		return err
	}
	if err := f.look(cmd, src); err != nil {
		return err
	}
	if err := f.consent(cmd, jobs); err != nil {
		return err
	}
	if err := openAll(jobs); err != nil {
		return err
	}
	results := f.write(cmd, jobs)
	if err := f.report(cmd, results); err != nil {
		return err
	}
	if !f.json && targets[0].role != nil {
		afterFlash(cmd, targets)
	}
	return nil
}

// open unpacks the image that cards are written from.
func (f flashFlags) open(cmd *cobra.Command, image string) (*provision.Source, func(), error) {
	o, closeBase, err := f.options(cmd, image, func(*settings.Settings, func(string, func())) {})
	if err != nil {
		return nil, nil, err
	}
	show := f.display(cmd)
	defer show.Wait()
	o.Progress = show.Start
	src, err := provision.OpenSource(cmd.Context(), o)
	if err != nil {
		return nil, nil, errors.Join(err, closeBase())
	}
	return src, func() { src.Close(); closeBase() }, nil
}

// jobs says what is to be written to the targets, and refuses targets that cannot be
// written.
func (f flashFlags) jobs(ctx context.Context, src *provision.Source, targets []cardTarget) ([]card.Job, error) {
	var jobs []card.Job
	for _, t := range targets {
		image := src.Plain()
		if t.role != nil {
			var err error
			if image, err = src.Role(ctx, *t.role); err != nil {
				return nil, err
			}
		}
		if t.disk.Holds(src.Base()) {
			return nil, fmt.Errorf("%s: is the image that is to be written: want another card", t.disk.Path)
		}
		if err := f.policy().Check(t.disk, image.Size()); err != nil {
			return nil, err
		}
		job := card.Job{Name: t.name(), Disk: t.disk, Image: image}
		// What is free is the same in all images of a cluster, as long as only a sector differs.
		if n := len(jobs); n > 0 && !f.branded {
			job.Ranges = jobs[n-1].Ranges
		} else {
			job.Ranges = f.ranges(image)
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// look prints what was found out about an image.
func (f flashFlags) look(cmd *cobra.Command, src *provision.Source) error {
	for _, w := range src.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
	}
	for _, note := range src.Notes {
		f.note(cmd, note)
	}
	if !src.Made {
		return nil
	}
	return refuseSettings(cmd, settingFlags, "the image was made already, and has its settings")
}

func (f flashFlags) ranges(image *diskimage.Layer) []card.Range {
	if f.full {
		return card.All(image.Size())
	}
	return card.Used(image)
}

// consent shows what will be lost, and asks.
func (f flashFlags) consent(cmd *cobra.Command, jobs []card.Job) error {
	if f.yes || !slices.ContainsFunc(jobs, func(j card.Job) bool { return !j.Disk.IsNew() }) {
		return nil
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintln(w, "All that is on these will be lost:")
	for _, j := range jobs {
		if !j.Disk.IsNew() {
			fmt.Fprintf(w, "  %s%s\n", j.Disk.Describe(), becomes(j))
		}
	}
	return ask(cmd, "Write them?")
}

func becomes(j card.Job) string {
	if j.Name == "" {
		return ""
	}
	return " -> " + j.Name
}

// errNo says that the user did not consent.
var errNo = errors.New("not written: you did not say yes")

// canAsk refuses to go on where there is no terminal to ask on and no --yes.
func (f flashFlags) canAsk(cmd *cobra.Command) error {
	stdin, ok := cmd.InOrStdin().(*os.File)
	if f.yes || ok && term.IsTerminal(int(stdin.Fd())) {
		return nil
	}
	return usagef("there is no terminal to ask on: want --yes, if what is on the cards may go")
}

// ask has the user type "yes".
func ask(cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s Type yes: ", question)
	answer := make(chan string, 1)
	go func() { // a read from a terminal cannot be interrupted
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-cmd.Context().Done():
		return context.Cause(cmd.Context())
	case line := <-answer:
		if line != "yes" {
			return errNo
		}
		return nil
	}
}

// openAll opens the devices of all jobs, or none.
func openAll(jobs []card.Job) error {
	for i := range jobs {
		device, err := card.Open(jobs[i].Disk, jobs[i].Image.Size())
		if err != nil {
			for _, j := range jobs[:i] {
				j.Device.Close()
			}
			return err
		}
		jobs[i].Device = device
	}
	return nil
}

// write writes cards and shows its progress.
func (f flashFlags) write(cmd *cobra.Command, jobs []card.Job) []card.Result {
	o := card.Options{NoVerify: f.noVerify, Discard: f.discard}
	if f.json {
		events := &eventWriter{w: cmd.OutOrStdout()}
		o.Progress = events.start
		return card.Write(cmd.Context(), jobs, o)
	}
	show := f.display(cmd)
	defer show.Wait()
	o.Progress = func(j card.Job, phase card.Phase, total int64) io.WriteCloser {
		return show.Start(strings.TrimSpace(fmt.Sprintf("%s %s: %s", j.Name, j.Disk.Path, phase)), total)
	}
	return card.Write(cmd.Context(), jobs, o)
}
