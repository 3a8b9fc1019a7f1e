package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/lab/labtest"
)

// harmless is what fsck.fat may say of a file system after a power cut, and of one
// that is smaller than usual.
var harmless = []string{
	"fsck.fat", "Leaving filesystem unchanged", "Reclaimed", "FATs differ", "Using first FAT", "Free cluster summary",
	"Orphaned long file name", "Auto-", "files, ", "1) ", "2) ", "Delete",
	"Filesystem is FAT32", "less than the required minimum", "may lead to problems",
}

// complaints returns all that fsck.fat says of a damaged file system, and of that what
// a power cut must not cause: it may leave clusters that no file uses, one table ahead
// of its copy, and a wrong count of free clusters.
func complaints(t *testing.T, disk *labtest.Disk) (all, bad string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(image, disk.Content(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/fsck.fat", "-n", image)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("apt-get install dosfstools: %v", err)
	}
	if err == nil {
		return "", ""
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) != "" && !slices.ContainsFunc(harmless, func(h string) bool { return strings.Contains(line, h) }) {
			bad += line
		}
	}
	return string(out), bad
}

// A volumeEdit changes files of a volume.
type volumeEdit struct {
	name string
	do   func(*Volume) error
	want map[string]string // what differs afterwards; empty for gone
}

const errorFile = "clusterctrl-error.txt"

var longText = strings.Repeat("long ", 700)

var volumeEdits = []volumeEdit{
	{"create", func(p *Volume) error { return p.WriteFile("cmdline.old", []byte(longText)) }, map[string]string{"cmdline.old": longText}},
	{"create long name", func(p *Volume) error { return p.WriteFile(errorFile, []byte(longText)) }, map[string]string{errorFile: longText}},
	{"replace", func(p *Volume) error { return p.WriteFile("config.txt", []byte(longText)) }, map[string]string{"config.txt": longText}},
	{"shorten", func(p *Volume) error { return p.WriteFile("a long name.txt", []byte("x")) }, map[string]string{"a long name.txt": "x"}},
	{"several", writeSeveral, several},
	{"remove", removeLongName, map[string]string{"a long name.txt": ""}},
	{"overwrite", func(p *Volume) error { return p.OverwriteLine("config.txt", "x\n") }, map[string]string{"config.txt": "x    \n"}},
	{"overwrite by more", func(p *Volume) error { return p.OverwriteLine("config.txt", "[all]\nmore\n") }, map[string]string{"config.txt": "[all]\nmore\n"}},
}

// several are written at once: each is at every moment the old one or the new one.
var several = map[string]string{"cmdline.old": longText, "config.txt": longText + "x", "a long name.txt": "y", "user-data": "z"}

func writeSeveral(p *Volume) error {
	files := map[string][]byte{}
	for name, text := range several {
		files[name] = []byte(text)
	}
	return p.WriteFiles(files)
}

// between says whether each file is as in old or as in want.
func between(got, old, want map[string]string) bool {
	for _, files := range []map[string]string{got, old, want} {
		for name := range files {
			text, ok := got[name]
			before, was := old[name]
			after, becomes := want[name]
			if !(ok == was && text == before) && !(ok == becomes && text == after) {
				return false
			}
		}
	}
	return true
}

func removeLongName(p *Volume) error {
	if err := p.Remove("a long name.txt"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// TestVolumeCuts: a change is at every moment made or not, in a root directory with
// room, at the end of a cluster so that it grows, and beside a stale temporary file.
func TestVolumeCuts(t *testing.T) {
	cuts := 0
	for _, f := range []format{{32, 1, 512, 2100, 2}, {32, 4, 512, 2100, 2}, {16, 4, 512, 5000, 2}} {
		base := labtest.NewDisk(readImage(t, f.make(t)))
		for _, others := range []int{0, 3, 4, 9} { // each two entries, of which 16 fill a cluster of one sector
			start := base.Clone()
			write(t, start, "config.txt", "[all]\n")
			write(t, start, "filler", strings.Repeat("x", 150*sector)) // what comes next is in another sector of the table
			if others == 9 {
				write(t, start, temporary(0), longText+longText)
			}
			for i := range others {
				write(t, start, fmt.Sprintf("f%d", i), "x")
			}
			write(t, start, "a long name.txt", longText)
			for _, e := range volumeEdits {
				t.Run(fmt.Sprintf("%v/%d/%s", f, others, e.name), func(t *testing.T) {
					cuts += cutEverywhere(t, start.Clone(), e)
				})
			}
		}
	}
	t.Logf("%d cuts", cuts)
}

func write(t *testing.T, disk *labtest.Disk, name, text string) {
	t.Helper()
	err := disturb(disk, func(v *Volume) error { return v.WriteFile(name, []byte(text)) }, math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
}

// disturb makes a change on a disk whose power fails at an operation, counted from 1.
func disturb(disk *labtest.Disk, change func(*Volume) error, at int) error {
	operations := 0
	disk.Fault = func(operation string) error {
		if operations++; operations >= at {
			return &fs.PathError{Op: "power cut at", Path: operation, Err: syscall.EIO}
		}
		return nil
	}
	v, err := OpenVolume(disk, disk.Size())
	if err != nil {
		return err
	}
	return change(v)
}

// lasting is the text of each file in the root directory, without temporary ones.
func lasting(t *testing.T, disk *labtest.Disk) map[string]string {
	t.Helper()
	fsys, err := Open(disk, disk.Size())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, file := range tree(t, fsys) {
		if !file.dir && !strings.HasPrefix(name, TemporaryPrefix) {
			files[name] = file.content
		}
	}
	return files
}

// cutEverywhere cuts the power at each operation of an edit, makes it again, and
// returns the number of cuts.
func cutEverywhere(t *testing.T, start *labtest.Disk, e volumeEdit) (cuts int) {
	old := lasting(t, start)
	want := maps.Clone(old)
	maps.Copy(want, e.want)
	maps.DeleteFunc(want, func(_, text string) bool { return text == "" })
	for at := 1; ; at++ {
		for seed := range int64(2) {
			disk := start.Clone()
			failed := disturb(disk, e.do, at)
			if failed == nil {
				if all, _ := complaints(t, disk); all != "" {
					t.Fatal(all)
				}
				return cuts
			}
			if !errors.Is(failed, syscall.EIO) {
				t.Fatal(failed)
			}
			disk.Cut(rand.New(rand.NewSource(seed)))
			if got := lasting(t, disk); !between(got, old, want) {
				t.Fatalf("cut at %d: files %q", at, got)
			}
			if seed == 0 && at%8 == 1 {
				if _, bad := complaints(t, disk); bad != "" {
					t.Fatalf("cut at %d: %s", at, bad)
				}
			}
			if err := disturb(disk, e.do, math.MaxInt); err != nil {
				t.Fatal(err)
			}
			if got := lasting(t, disk); !maps.Equal(got, want) {
				t.Fatalf("cut at %d, then made again: files %q, want %q", at, got, want)
			}
			cuts++
		}
	}
}
