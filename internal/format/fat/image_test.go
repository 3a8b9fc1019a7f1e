package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// A format is what mkfs.fat is asked for.
type format struct {
	bits       int
	perCluster int // sectors
	sectorSize int
	clusters   int
	fats       int
}

func (f format) String() string {
	return fmt.Sprintf("FAT%d-%dx%d-%dFATs", f.bits, f.perCluster, f.sectorSize, f.fats)
}

// mtools takes a FAT32 of less than 65525 clusters for a FAT16, and a FAT16 of
// less than 4085 is a FAT12. These are a few more than that.
const few16, few32 = 4200, 66000

var formats = []format{
	{16, 1, 512, few16, 2}, {16, 2, 512, few16, 2}, {16, 4, 512, few16, 1}, {16, 8, 512, few16, 2},
	{16, 16, 512, few16, 2}, {16, 32, 512, few16, 2}, {16, 64, 512, few16, 2}, {16, 1, 512, 65000, 2},
	{16, 1, 1024, few16, 2}, {16, 4, 2048, few16, 2}, {16, 1, 4096, few16, 2},
	{32, 1, 512, few32, 2}, {32, 2, 512, few32, 2}, {32, 4, 512, few32, 2}, {32, 8, 512, few32, 1},
	{32, 16, 512, few32, 2}, {32, 32, 512, few32, 2}, {32, 64, 512, few32, 2},
	{32, 1, 1024, few32, 2}, {32, 2, 2048, few32, 2}, {32, 1, 4096, few32, 2},
}

// make creates an empty file system in a sparse file.
func (f format) make(t tester) (path string) {
	t.Helper()
	path = filepath.Join(tempDir(t), f.String()+".img")
	sectors := f.clusters*f.perCluster + 64
	sectors += f.fats * f.clusters * f.bits / 8 / f.sectorSize
	run(t, "dosfstools", "mkfs.fat", "-C", "-F", strconv.Itoa(f.bits), "-s", strconv.Itoa(f.perCluster),
		"-S", strconv.Itoa(f.sectorSize), "-f", strconv.Itoa(f.fats), "-n", "BOOTFS", "-i", "c0ffee07",
		path, strconv.Itoa(sectors*f.sectorSize/1024))
	return path
}

// A tester is a [testing.TB] or a [rapid.T].
type tester interface {
	rapid.TB
	Cleanup(func())
}

// tempDir is a directory that lives as long as one check of a property.
func tempDir(t tester) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run runs one of the programs that judge our work.
func run(t tester, debianPackage, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Fatalf("%v: install the Debian package %s", err, debianPackage)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// copyImage returns a copy that is as sparse as the image.
func copyImage(t tester, image string) string {
	t.Helper()
	path := filepath.Join(tempDir(t), "copy.img")
	run(t, "coreutils", "cp", "--sparse=always", "--reflink=auto", image, path)
	return path
}

// open opens an image that is closed at the end of the test.
func open(t tester, image string) *FS {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	end, err := file.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := Open(file, end)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

var fsckSummary = regexp.MustCompile(`^fsck\.fat [^\n]*\n[^\n]*: \d+ files, (\d+)/(\d+) clusters\n$`)

// fsck demands that fsck.fat has nothing to say about an image, and returns
// the number of clusters that it has found in use.
func fsck(t tester, image string) (used, clusters int) {
	t.Helper()
	out := run(t, "dosfstools", "fsck.fat", "-n", image)
	numbers := fsckSummary.FindStringSubmatch(out)
	if numbers == nil {
		t.Fatalf("fsck.fat: %s", out)
	}
	used, _ = strconv.Atoi(numbers[1])
	clusters, _ = strconv.Atoi(numbers[2])
	return used, clusters
}

// A leaf is what a name leads to in a tree that was read.
type leaf struct {
	dir     bool
	content string
	modTime time.Time // zero for a directory: mtools does not keep it
}

// tree reads all of a file system.
func tree(t tester, fsys fs.FS) map[string]leaf {
	t.Helper()
	all := map[string]leaf{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[name] = leaf{dir: true}
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[name] = leaf{content: string(content), modTime: info.ModTime().UTC()}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// mtoolsTree is the tree that mtools sees. It shows what is outside the Basic
// Multilingual Plane as two underscores.
func mtoolsTree(t tester, image string) map[string]leaf {
	t.Helper()
	dir := tempDir(t)
	run(t, "mtools", "mcopy", "-s", "-n", "-m", "-i", image, "::", dir)
	return tree(t, os.DirFS(dir))
}

// asMtools is a name as mtools shows it.
func asMtools(name string) string {
	var s strings.Builder
	for _, r := range name {
		if r > 0xffff {
			s.WriteString("__")
		} else {
			s.WriteRune(r)
		}
	}
	return s.String()
}

// populate fills an image by mtools: files of all kinds, and deleted ones.
func populate(t tester, image string) {
	t.Helper()
	dir := tempDir(t)
	random := rand.New(rand.NewSource(1))
	for _, sub := range []string{"overlays", "overlays/deep", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		name := fmt.Sprintf("overlays/some rather long name, number %d.dtbo", i)
		content := bytes.Repeat([]byte{byte(i)}, random.Intn(4000))
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cmdline.txt", "config.txt", "KERNEL.IMG", "UPPER.txt", "lower.TXT", "Grüße 漢字.txt", "overlays/deep/x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mtools", "mcopy", append(append([]string{"-s", "-m", "-i", image}, names...), "::/")...)
	run(t, "mtools", "mdel", "-i", image, "::/overlays/some rather long name, number 1*.dtbo", "::/lower.TXT")
}

func describe(t tester, fsys *FS) Info {
	t.Helper()
	i, err := fsys.Info()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// fill leaves about n clusters free, by marking the others as bad. The free ones are
// scattered over the end of the device, where FAT32 needs more than 16 bits for their
// numbers.
func fill(t tester, image string, n int) {
	t.Helper()
	fsys := open(t, image)
	random := rand.New(rand.NewSource(2))
	first := fsys.table.clusters - 1000
	for c, err := range fsys.table.all() {
		if err != nil {
			t.Fatal(err)
		}
		if fsys.table.at(c) == free && (c < first || random.Intn(1000) >= n) {
			fsys.table.set(c, bad)
			fsys.table.taken++
		}
	}
	if err := fsys.Close(); err != nil {
		t.Fatal(err)
	}
}
