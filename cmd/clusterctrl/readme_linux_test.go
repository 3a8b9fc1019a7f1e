package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/tree/rootfs"
)

// A block is a run of indented lines of the README: commands, as a user types them.
type block struct {
	line     int    // number of the first one
	commands string // all of them
	mark     string // in the comment in front of the block, which readers do not see
}

// A section is what is under a heading of the README.
type section struct {
	title  string
	blocks []block
}

const (
	needs = "needs " // what a test has not
	stays = "runs until Ctrl-C"
)

// wants are what blocks may need that are not run.
var wants = []string{"cards", "a controller", "QEMU", "the source", "Debian's archive"}

var (
	heading = regexp.MustCompile(`^#+ (.*)$`)
	comment = regexp.MustCompile(`^ *<!-- (.*) -->$`)
	indent  = regexp.MustCompile(`^ {4,}\S`)
	into    = regexp.MustCompile(` -o (\S+)`)
)

// parseReadme returns the sections with the commands that are in them. Text in fences is
// no command.
func parseReadme(text string) []section {
	all := []section{{}}
	fenced, blank, mark := false, true, ""
	var at *block
	for i, line := range strings.Split(text, "\n") {
		last := &all[len(all)-1]
		switch h, c := heading.FindStringSubmatch(line), comment.FindStringSubmatch(line); {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced:
		case c != nil:
			mark, at = c[1], nil
		case h != nil:
			all, at = append(all, section{title: h[1]}), nil
		case indent.MatchString(line) && at != nil:
			at.commands += line + "\n"
		case indent.MatchString(line) && blank:
			last.blocks = append(last.blocks, block{i + 1, line + "\n", mark})
			at = &last.blocks[len(last.blocks)-1]
		default:
			at = nil
		}
		if blank = line == ""; !blank && comment.FindString(line) == "" {
			mark = ""
		}
	}
	return all
}

// script is what runs the commands of a section: from a directory without what the
// section is to make, which earlier ones may have made too.
func (s section) script() string {
	var b strings.Builder
	for _, block := range s.blocks {
		if strings.HasPrefix(block.mark, needs) {
			continue
		}
		for _, dir := range into.FindAllStringSubmatch(block.commands, -1) {
			fmt.Fprintf(&b, "rm -rf %s\n", dir[1])
		}
	}
	for _, block := range s.blocks {
		fmt.Fprintf(&b, "echo 'README, line %d' >at\n", block.line)
		switch {
		case strings.HasPrefix(block.mark, needs):
		case block.mark == stays:
			fmt.Fprintf(&b, "exec 3< <(exec %s)\nread -r <&3\nkill $!\nwait $! || [ $? = 130 ]\n", strings.TrimSpace(block.commands))
		default:
			b.WriteString(block.commands)
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
mkdir -p home/.ssh work
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 anna@home' >home/.ssh/id_ed25519.pub
xz -0 base.img
cd work
cp "$(command -v clusterctrl)" clusterctrl-linux-amd64
chmod -x clusterctrl-linux-amd64
echo secret >secret.txt
for base in base raspios 2025-05-13-raspios-bookworm-arm64-lite; do ln ../base.img.xz $base.img.xz; done
clusterctrl build base.img.xz --only p1 -q -o made
mv made/*.img card.img
`

// TestReadme runs the commands of the README as users type them, in order, in one directory,
// but for those that need hardware or the like, which the README marks.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeBase(t, filepath.Join(dir, "base.img"))
	script, ran := "set -eo pipefail\n"+machine, 0
	for _, s := range parseReadme(string(readme)) {
		for _, b := range s.blocks {
			what, marked := strings.CutPrefix(b.mark, needs)
			switch {
			case b.mark == "" || b.mark == stays:
				ran++
			case !marked || !slices.Contains(wants, what):
				t.Errorf("README, line %d: mark %q: want %q, or %q with one of %q", b.line, b.mark, stays, needs, wants)
			}
		}
		script += s.script()
	}
	const least = 10 // so that marks do not spread
	if ran < least {
		t.Errorf("%d blocks of commands run, want %d at least", ran, least)
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
	dir, index := "usr/lib/modules/6.12.25+rpt-rpi-v8", ""
	for _, name := range []string{"usr/lib/modules", dir, dir + "/kernel"} {
		if err := tree.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"libcomposite", "usb_f_ecm", "usb_f_ncm", "usb_f_rndis", "usb_f_acm", "dwc2", "8021q", "nbd"} {
		index += "kernel/" + name + ".ko:\n"
		if err := tree.WriteFile(dir+"/kernel/"+name+".ko", []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.WriteFile(dir+"/modules.dep", []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}
