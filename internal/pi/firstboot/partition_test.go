package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
)

// emptyPartition is a file system made by mkfs.fat.
func emptyPartition(t testing.TB, bits, sectorsPerCluster, kib int) memory {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fat")
	command(t, "mkfs.fat", "-C", "-F", fmt.Sprint(bits), "-s", fmt.Sprint(sectorsPerCluster), "-n", "BOOTFS", image, fmt.Sprint(kib))
	content, err := os.ReadFile(image)
	must(err)
	return content
}

// command runs a program of dosfstools and returns what it says.
func command(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Fatalf("no %s: apt-get install dosfstools", name)
	}
	return string(out), err
}

// harmless is what fsck.fat may say of a file system after a cut; and of one
// that is smaller than usual.
var harmless = []string{
	"fsck.fat", "Leaving filesystem unchanged", "Reclaimed", "FATs differ", "Using first FAT", "Free cluster summary",
	"Orphaned long file name", "Auto-", "files, ", "1) ", "2) ", "Delete",
	"Filesystem is FAT32", "less than the required minimum", "may lead to problems",
}

// fsck returns what fsck.fat finds, apart from what a cut may leave: clusters
// that nobody uses, one table ahead of its copy, and a count that is off.
func (p *pi) fsck(t testing.TB) (all, bad string) {
	t.Helper()
	content := append(memory(nil), p.base...)
	for off, s := range p.sectors {
		copy(content[off:], s)
	}
	image := filepath.Join(t.TempDir(), "fat")
	must(os.WriteFile(image, content, 0o600))
	out, err := command(t, "fsck.fat", "-n", image)
	if err == nil {
		return "", ""
	}
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) != "" && !slices.ContainsFunc(harmless, func(h string) bool { return strings.Contains(line, h) }) {
			bad += line
		}
	}
	return out, bad
}

// A partitionEdit changes files of a boot partition.
type partitionEdit struct {
	name string
	do   func(*fat.Volume) error
	want map[string]string // what differs afterwards; empty for gone
}

var longText = strings.Repeat("long ", 700)

var partitionEdits = []partitionEdit{
	{"create", func(p *fat.Volume) error { return p.WriteFile("cmdline.old", []byte(longText)) }, map[string]string{"cmdline.old": longText}},
	{"create long name", func(p *fat.Volume) error { return p.WriteFile(ErrorFile, []byte(longText)) }, map[string]string{ErrorFile: longText}},
	{"replace", func(p *fat.Volume) error { return p.WriteFile("config.txt", []byte(longText)) }, map[string]string{"config.txt": longText}},
	{"shorten", func(p *fat.Volume) error { return p.WriteFile("a long name.txt", []byte("x")) }, map[string]string{"a long name.txt": "x"}},
	{"several", writeSeveral, several},
	{"remove", removeLongName, map[string]string{"a long name.txt": ""}},
	{"overwrite", func(p *fat.Volume) error { return p.OverwriteLine("config.txt", "x\n") }, map[string]string{"config.txt": "x    \n"}},
	{"overwrite by more", func(p *fat.Volume) error { return p.OverwriteLine("config.txt", "[all]\nmore\n") }, map[string]string{"config.txt": "[all]\nmore\n"}},
}

// several are written at once: each is at every moment the old one or the new one.
var several = map[string]string{"cmdline.old": longText, "config.txt": longText + "x", "a long name.txt": "y", "user-data": "z"}

func writeSeveral(p *fat.Volume) error {
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

func removeLongName(p *fat.Volume) error {
	if err := p.Remove("a long name.txt"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// A change is at every moment made or not: in a root directory with room, at
// the end of a cluster so that it grows, beside a stale temporary file.
func TestPartitionCuts(t *testing.T) {
	cuts := 0
	for _, format := range []struct{ bits, perCluster, kib int }{{32, 1, 2100}, {32, 4, 8400}, {16, 4, 10000}} {
		base := emptyPartition(t, format.bits, format.perCluster, format.kib)
		for _, others := range []int{0, 3, 4, 9} { // each two entries, of which 16 fill a cluster of one sector
			start := &pi{base: base, sectors: map[int64][]byte{}, before: map[int64][]byte{}}
			write(t, start, "config.txt", "[all]\n")
			write(t, start, "filler", strings.Repeat("x", 150*mbr.SectorSize)) // what comes next is in another sector of the table
			if others == 9 {
				write(t, start, fat.TemporaryPrefix+"00", longText+longText)
			}
			for i := range others {
				write(t, start, fmt.Sprintf("f%d", i), "x")
			}
			write(t, start, "a long name.txt", longText)
			for _, e := range partitionEdits {
				t.Run(fmt.Sprintf("FAT%d-%d/%d/%s", format.bits, format.perCluster, others, e.name), func(t *testing.T) {
					cuts += start.cutEverywhere(t, e)
				})
			}
		}
	}
	t.Logf("%d cuts", cuts)
}

// lasting is files without those that do not count.
func (p *pi) lasting(t testing.TB) map[string]string {
	t.Helper()
	files := p.files(t)
	for i := range 3 {
		delete(files, fmt.Sprintf("%s%02d", fat.TemporaryPrefix, i))
	}
	return files
}

// cutEverywhere cuts the power at each operation of an edit, does it again, and
// returns the number of cuts.
func (p *pi) cutEverywhere(t *testing.T, e partitionEdit) (cuts int) {
	whole, old := p.disturbed(t, faults{}, e.do), p.lasting(t)
	want := maps.Clone(old)
	maps.Copy(want, e.want)
	maps.DeleteFunc(want, func(_, text string) bool { return text == "" })
	if got := whole.lasting(t); !maps.Equal(got, want) {
		t.Fatalf("files %q, want %q", got, want)
	}
	if all, _ := whole.fsck(t); all != "" {
		t.Fatal(all)
	}
	for at := 1; at <= len(whole.log); at++ {
		for seed := range int64(2 * *subsets) {
			cut := p.disturbed(t, faults{at: at, until: 1 << 30, err: syscall.EIO}, e.do)
			cut.cut(rand.New(rand.NewSource(seed)))
			if got := cut.lasting(t); !between(got, old, want) {
				t.Fatalf("cut at %d: files %q", at, got)
			}
			if seed == 0 && at%8 == 1 {
				if _, bad := cut.fsck(t); bad != "" {
					t.Fatalf("cut at %d: %s", at, bad)
				}
			}
			if got := cut.disturbed(t, faults{}, e.do).lasting(t); !maps.Equal(got, want) {
				t.Fatalf("cut at %d, then done again: files %q", at, got)
			}
			cuts++
		}
	}
	return cuts
}

// disturbed is a copy of p in which something was done or begun.
func (p *pi) disturbed(t testing.TB, f faults, do func(*fat.Volume) error) *pi {
	t.Helper()
	c := &pi{base: p.base, sectors: maps.Clone(p.sectors), before: map[int64][]byte{}, faults: f}
	boot, err := fat.OpenVolume(c, int64(len(c.base)))
	must(err)
	if err := do(boot); err != nil && f.at == 0 {
		t.Fatal(err)
	}
	return c
}
