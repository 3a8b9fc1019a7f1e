package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/sample/sampletest"
	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/readme"
)

const (
	needs = "needs " // what a test has not
	stays = "runs until Ctrl-C"
)

// wants are what blocks may need that are not run.
var wants = []string{"cards", "a controller", "QEMU", "the source", "Debian's archive"}

var into = regexp.MustCompile(`(?: -o | p2=)(\S+)`)

// scriptOf returns what runs the commands of a section: from a directory without what the
// section is to make, which earlier ones may have made too.
func scriptOf(s readme.Section) string {
	var b strings.Builder
	for _, block := range s.Blocks {
		if strings.HasPrefix(block.Mark, needs) {
			continue
		}
		for _, dir := range into.FindAllStringSubmatch(block.Commands, -1) {
			fmt.Fprintf(&b, "rm -rf %s\n", dir[1])
		}
	}
	for _, block := range s.Blocks {
		fmt.Fprintf(&b, "echo '%s' >at\n", block.Where)
		switch {
		case strings.HasPrefix(block.Mark, needs):
		case block.Mark == stays:
			fmt.Fprintf(&b, "exec 3< <(exec %s)\nread -r <&3\nkill $!\nwait $! || [ $? = 130 ]\n", strings.TrimSpace(block.Commands))
		default:
			b.WriteString(block.Commands)
		}
	}
	return b.String()
}

// machine makes a computer for the commands, on which they may be root and change what
// they like: it has files of its own in /etc and /usr/local/bin, a network of its own, and
// the files that the README says a user has.
const machine = `
ip link set lo up
cp -a /etc etc
mkdir -p etc/bash_completion.d bin
mount --bind etc /etc
mount -t tmpfs tmpfs /usr/local/bin
printf '#!/bin/sh\nexec "$@"\n' >bin/sudo
chmod +x bin/sudo
PATH=/usr/local/bin:$PWD/bin:$PATH
export HOME=$PWD/home
mkdir -p home/.ssh work/images
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 anna@home' >home/.ssh/id_ed25519.pub
xz -0 base.img
cd work
cp "$(command -v clusterctrl)" clusterctrl-linux-amd64
chmod -x clusterctrl-linux-amd64
echo secret >secret.txt
sha256sum ../base.img.xz >base.img.xz.sha256
for base in base raspios 2025-05-13-raspios-bookworm-arm64-lite; do ln ../base.img.xz $base.img.xz; done
clusterctrl build base.img.xz --only p1 -q -o made
mv made/*.img card.img
`

// TestReadme runs the commands of the README as users type them, in order, in one directory,
// but for those that need hardware or the like, which the README marks.
func TestReadme(t *testing.T) {
	t.Parallel()
	all, err := readme.Sections("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, s := range all {
		for _, b := range s.Blocks {
			what, marked := strings.CutPrefix(b.Mark, needs)
			switch {
			case b.Mark == "" || b.Mark == stays:
				ran++
			case !marked || !slices.Contains(wants, what):
				t.Errorf("%s: mark %q: want %q, or %q with one of %q", b.Where, b.Mark, stays, needs, wants)
			}
		}
	}
	const least = 10 // so that marks do not spread
	if ran < least {
		t.Errorf("%d blocks of commands run, want %d at least", ran, least)
	}
	runSections(t, all)
}

// TestHelpRuns runs the examples in the help, and so in the reference, of the commands that
// need no hardware.
func TestHelpRuns(t *testing.T) {
	t.Parallel()
	verbs := []string{"build", "flash", "serve", "inspect", "reconfig", "verify", "config init", "inventory", "ssh-config", "version"}
	hardware := regexp.MustCompile(`/dev/sd|--next|/srv/p7|--format hosts \||^ *ansible `)
	var sections []readme.Section
	for _, verb := range verbs {
		cmd, _, err := rootCommand().Find(strings.Fields(verb))
		if err != nil {
			t.Fatal(err)
		}
		for example := range strings.Lines(strings.ReplaceAll(cmd.Example, "\\\n", "")) {
			b := readme.Block{Where: "help of " + verb, Commands: strings.TrimSpace(example) + "\n"}
			switch {
			case hardware.MatchString(example):
				continue
			case verb == "serve" && strings.HasPrefix(b.Commands, "clusterctrl "):
				b.Mark = stays
			}
			sections = append(sections, readme.Section{Blocks: []readme.Block{b}}) // other examples may do the same in other words
		}
	}
	runSections(t, sections)
}

// runSections runs commands on a machine of their own.
func runSections(t *testing.T, all []readme.Section) {
	t.Helper()
	dir := t.TempDir()
	writeBase(t, filepath.Join(dir, "base.img"))
	script := "set -eo pipefail\n" + machine
	for _, s := range all {
		script += scriptOf(s)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "bash", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		at, _ := os.ReadFile(filepath.Join(dir, "work", "at"))
		t.Fatalf("%s: %v (as root)\n%s", bytes.TrimSpace(at), err, out)
	}
}

// writeBase writes a base with a kernel whose modules have the names of those that nodes
// without cards need.
func writeBase(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict).WriteTo(f)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := rootfs.OpenImage(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sampletest.AddKernel(tree), tree.Close()); err != nil {
		t.Fatal(err)
	}
}
