// Bench prints how fast clusterctrl is beside the programs that users would run
// instead, on a base image made of real files.
//
// All of a contest is done in turn, round after round, so that what else the
// machine does hits both sides; what is printed are medians. Every entry is a
// shell script, shown by -v: ours and theirs are timed by the same clock, from
// start to flushed disk.
//
// It needs root, for the file systems that it makes in files and mounts. They
// are gone when it ends, also when it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage: go run ./bench [flags] [part ...]

Parts, all if none is named, which take some nine minutes a round but for compress:
  unpack     decompression, beside xz
  build      base.img.xz to six images, beside xz, cp and mcopy; peak memory
  nodes      252 node images where files share blocks, beside cp and mcopy
  copies     four node images where they do not, beside cp
  compress   compressed images, beside xz, zstd and gzip, for half an hour a round
  usbboot    the archive of a root for nodes without cards and its unpacking, beside
             tar, zstd and xz; an initramfs beside mkinitramfs
  serve      an image over HTTP, beside nginx
  flash      one card and four, verified, beside dd and cmp, and bmaptool
  firstboot  a node's first boot, beside a shell script, in a virtual machine
  gadget     a node's USB gadget, beside a shell script, in a virtual machine
  power      status and on p1, beside a Python script, in a virtual machine
  cable      ping, TCP and NFS over rndis, ncm and ecm, in a virtual machine
  disk       disks of nodes without cards, beside qemu-nbd and nbdkit

Flags:
`

// A bench is a run of this program.
type bench struct {
	rounds  int
	verbose bool
	base    base
	program string   // clusterctrl
	dir     string   // for what is made on the way
	places  []string // file systems
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := runBench
	if len(os.Args) > 1 && verbs[os.Args[1]] != nil {
		run = verbs[os.Args[1]]
	}
	if len(os.Args) > 1 && os.Args[1] == diskVerb {
		run = runDisk
	}
	err := run(ctx, os.Args[1:])
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// verbs make this program what is measured beside other programs.
var verbs = map[string]func(context.Context, []string) error{
	unpackVerb: runUnpack, archiveVerb: runArchive, rootVerb: runRoot,
}

func runBench(ctx context.Context, args []string) error {
	var b bench
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.IntVar(&b.rounds, "rounds", 3, "measure everything `N` times")
	flags.BoolVar(&b.verbose, "v", false, "show the scripts and every single time")
	flags.StringVar(&b.base.name, "base", "cache/bench/base.img.xz", "the base image, in `FILE`; made if it is not there")
	flags.StringVar(&b.program, "program", "bin/clusterctrl", "the clusterctrl that is measured, in `FILE`")
	flags.StringVar(&b.dir, "dir", "cache/bench", "the `DIR` on the disk that is measured on, with 30 GB of room")
	places := flags.String("on", "disk,xfs,btrfs", "the file systems to measure on, in a `LIST`")
	flags.Parse(args)
	b.places = strings.Split(*places, ",")
	parts, err := wanted(flags.Args())
	if err != nil {
		return err
	}
	if err := checkTools(); err != nil {
		return err
	}
	return b.run(ctx, parts)
}

// A part of the benchmark measures in one place.
type part struct {
	name    string
	measure func(context.Context, *site) error
	at      func(*site) bool // whether it is worth while there

	alone func(bench, context.Context) error // in place of both, if it needs no site
}

var parts = []part{
	{name: "unpack", measure: measureUnpack, at: func(s *site) bool { return s.fsType == onDisk }},
	{name: "build", measure: measureBuild, at: func(*site) bool { return true }},
	{name: "nodes", measure: measureNodes, at: func(s *site) bool { return s.fsType != onDisk }},
	{name: "copies", measure: measureCopies, at: func(s *site) bool { return s.fsType == onDisk }},
	{name: "compress", measure: measureCompress, at: func(s *site) bool { return s.fsType == "xfs" }},
	{name: "usbboot", measure: measureUSBBoot, at: func(s *site) bool { return s.fsType == onDisk }},
	{name: "serve", measure: measureServe, at: func(s *site) bool { return s.fsType == onDisk }},
	{name: "flash", measure: measureFlash, at: func(s *site) bool { return s.fsType == onDisk }},
	{name: "firstboot", alone: bench.measureFirstBoot},
	{name: "gadget", alone: bench.measureGadget},
	{name: "power", alone: bench.measurePower},
	{name: "cable", alone: bench.measureCable},
	{name: "disk", alone: bench.measureDisk},
}

// wanted returns the parts of these names, all parts for none.
func wanted(names []string) ([]part, error) {
	var found []part
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
		if len(names) == 0 || slices.Contains(names, p.name) {
			found = append(found, p)
		}
	}
	if len(names) > 0 && len(found) != len(names) {
		return nil, fmt.Errorf("parts %q: want some of %s", names, strings.Join(all, ", "))
	}
	return found, nil
}

func (b bench) run(ctx context.Context, parts []part) error {
	var onSites []part
	for _, p := range parts {
		if p.alone == nil {
			onSites = append(onSites, p)
		} else if err := p.alone(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if len(onSites) == 0 {
		return nil
	}
	return b.runOnSites(ctx, onSites)
}

// runOnSites measures what is done with images, on all file systems.
func (b bench) runOnSites(ctx context.Context, parts []part) error {
	for _, path := range []*string{&b.base.name, &b.program, &b.dir} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if _, err := os.Stat(b.program); err != nil {
		return fmt.Errorf("%w; run make first", err)
	}
	if err := b.base.open(ctx); err != nil {
		return err
	}
	if err := b.describe(ctx); err != nil {
		return err
	}
	for _, fsType := range b.places {
		if err := b.measureOn(ctx, fsType, parts); err != nil {
			return err
		}
	}
	return nil
}

// describe prints what all figures depend on.
func (b bench) describe(ctx context.Context) error {
	version, err := exec.CommandContext(ctx, "xz", "--version").Output()
	if err != nil {
		return fmt.Errorf("xz: %w", err)
	}
	line, _, _ := strings.Cut(string(version), "\n")
	fmt.Printf("%v\n%d cores, %s (which decodes on several cores since 5.4), medians of %d rounds\n",
		b.base, runtime.GOMAXPROCS(0), line, b.rounds)
	return nil
}

// measureOn measures parts on a file system.
func (b bench) measureOn(ctx context.Context, fsType string, parts []part) (err error) {
	if !slices.ContainsFunc(parts, func(p part) bool { return p.at(&site{fsType: fsType}) }) {
		return nil
	}
	s, err := b.openSite(ctx, fsType)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, p := range parts {
		if !p.at(s) {
			continue
		}
		if err := p.measure(ctx, s); err != nil {
			return fmt.Errorf("%s on %s: %w", p.name, fsType, err)
		}
	}
	return nil
}
