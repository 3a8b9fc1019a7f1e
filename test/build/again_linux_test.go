package build_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"clusterctrl/test/base"
)

// testDryRun reads the names in the diff, which must be those of the files that
// a build changed, and in the end of the command line's for each other image.
func (b built) testDryRun(t *testing.T) {
	dir := t.TempDir()
	diff := output(t, clusterctrl(t, "build", b.base, "--nodes", "3", "--dry-run", "-o", dir))
	wantFiles(t, dir)
	parts := regexp.MustCompile(`(?m)^# (.*): changes to .*\n`).FindAllStringSubmatchIndex(diff, -1)
	if len(parts) != len(roles) {
		t.Fatalf("the diff has parts for %d images, want %d", len(parts), len(roles))
	}
	for i, part := range parts {
		end := len(diff)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		if got, want := diff[part[2]:part[3]], b.prefix+roles[i]+".img"; got != want {
			t.Errorf("part %d is of %s, want %s", i, got, want)
		}
		want := []string{"/boot/firmware/cmdline.txt"}
		if i == 0 {
			want = b.changedPaths()
		}
		wantLines(t, diffPaths(diff[part[1]:end]), want)
	}
}

// changedPaths returns what differs between the base and the controller's image,
// by the path on the Pi.
func (b built) changedPaths() []string {
	var paths []string
	collect := func(prefix string, lines []string) {
		for _, line := range lines {
			name, _, _ := strings.Cut(line, " -> ")
			paths = append(paths, prefix+name[strings.LastIndex(name, " ")+1:])
		}
	}
	collect("/", changes(b.baseRoot, b.rootTree))
	collect("/boot/firmware/", changes(b.baseBoot, b.bootTree))
	slices.Sort(paths)
	return paths
}

var diffName = regexp.MustCompile(`(?m)^(?:--- a|\+\+\+ b|(?:file|link|directory|binary|remove|mode of) )(/[^ :\n]*)`)

func diffPaths(diff string) []string {
	var paths []string
	for _, m := range diffName.FindAllStringSubmatch(diff, -1) {
		paths = append(paths, m[1])
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// testNodes makes images of more roles out of the controller's.
func (b built) testNodes(t *testing.T) {
	dir := t.TempDir()
	output(t, clusterctrl(t, "build", b.image("CBRIDGE"), "--only", "cnat,p2", "-o", dir))
	for _, role := range []string{"CNAT", "p2"} {
		name := filepath.Join(dir, b.prefix+role+".img")
		if sectors := differing(t, name, b.image(role)); len(sectors) > 0 {
			t.Errorf("%s differs from the one that build made in sectors %v", role, sectors)
		}
	}
}

// testSameBytes builds the controller's image from the same base in other
// forms: the same bytes must come out.
func (b built) testSameBytes(t *testing.T) {
	forms := map[string]func(dir string){
		"again": func(dir string) {
			output(t, clusterctrl(t, "build", b.base, "--nodes", "0", "--no-nat", "-o", dir))
		},
	}
	if b.name == base.Bookworm { // what comes in does not matter to the unpacking
		forms["xz"] = func(dir string) {
			xz := publish(t, release{published: b.published + ".xz"}, base.PathXZ(t, b.name))
			output(t, clusterctrl(t, "build", xz, "--nodes", "0", "--no-nat", "-o", dir))
		}
		forms["standard input"] = func(dir string) {
			cmd := clusterctrl(t, "build", "-", "--nodes", "0", "--no-nat", "-o", dir)
			stdin := open(t, b.base)
			defer stdin.Close()
			cmd.Stdin = stdin
			output(t, cmd)
		}
	}
	for name, run := range forms {
		dir := t.TempDir()
		run(dir)
		if sectors := differing(t, b.image("CBRIDGE"), filepath.Join(dir, b.prefix+"CBRIDGE.img")); len(sectors) > 0 {
			t.Errorf("%s: %d sectors differ, the first is %d", name, len(sectors), sectors[0])
		}
	}
}

// testGrow extends image, partition and file system, and nothing else.
func (b built) testGrow(t *testing.T) {
	dir := t.TempDir()
	output(t, clusterctrl(t, "build", b.base, "--nodes", "0", "--no-nat", "--grow", "200M", "-o", dir))
	grown := openDisk(t, filepath.Join(dir, b.prefix+"CBRIDGE.img"))
	grown.wantClean(t)
	was := b.controller
	if got, want := size(t, grown.path), int64(2<<30+200<<20); got != want {
		t.Errorf("image of %d bytes, want %d", got, want)
	}
	if grown.label != was.label || grown.boot != was.boot || grown.bootSize != was.bootSize || grown.root != was.root || grown.rootSize != was.rootSize+200<<20 {
		t.Errorf("partitions %+v, were %+v; want 200 MiB more of root", grown, was)
	}
	want := fmt.Sprintf("\nBlock count:              %d\n", grown.rootSize/4096)
	if super := judge(t, "dumpe2fs", "-h", grown.ext4()); !strings.Contains(super, want) {
		t.Errorf("dumpe2fs says\n%s\nwant %q", super, want)
	}
	wantChanges(t, b.rootTree, readTree(t, grown.mount(t)))
	wantChanges(t, b.bootTree, readTree(t, grown.bootTree(t)))
}

// testBuiltTwice gives a build what another build made, and one directory to
// both.
func (b built) testBuiltTwice(t *testing.T) {
	dir := t.TempDir()
	said := refused(t, clusterctrl(t, "build", b.image("CBRIDGE"), "--nodes", "0", "-o", dir))
	if want := "it is an image of cbridge already: say with --nodes N or --only ROLES which others to make of it"; !strings.HasSuffix(said, want) {
		t.Errorf("said %q, want %q at the end", said, want)
	}
	wantFiles(t, dir)
	said = refused(t, clusterctrl(t, "build", b.base, "--nodes", "3", "-o", b.dir))
	if !strings.Contains(said, b.prefix+"CBRIDGE.img") || !strings.Contains(said, ": file already exists; --force ") {
		t.Errorf("said %q, want the names of the images that exist", said)
	}
	b.testNames(t)
}
