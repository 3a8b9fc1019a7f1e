package firstboot

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// subsets is small where every commit is tested.
var subsets = flag.Int("subsets", 1, "how many `subsets` of the sectors in flight to lose at each cut")

const bootDir = "boot/firmware"

// A memory is a disk image in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// controller is what a build makes of the sample base.
var controller = sync.OnceValues(func() (memory, *rootfs.Image) {
	disk, err := io.ReadAll(xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict))
	must(err)
	image, err := rootfs.OpenImage(memory(disk), int64(len(disk)))
	must(err)
	system, err := rootfs.Identify(image)
	must(err)
	plan, err := edit.NewPlan(image, recipe.Controller(recipe.System{OS: system, Settings: recipe.Settings{Gadget: node.ECM}}, map[string][]byte{node.Program: []byte("program")}))
	must(err)
	must(plan.Apply(image))
	must(image.Close())
	image, err = rootfs.OpenImage(memory(disk), int64(len(disk)))
	must(err)
	return disk, image
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A snapshot is a tree in memory, to be read.
type snapshot struct{ fstest.MapFS }

func (snapshot) WriteFile(string, []byte, fs.FileMode) error { return errors.ErrUnsupported }
func (snapshot) Mkdir(string, fs.FileMode) error             { return errors.ErrUnsupported }
func (snapshot) Symlink(string, string) error                { return errors.ErrUnsupported }
func (snapshot) Remove(string) error                         { return errors.ErrUnsupported }
func (snapshot) Chmod(string, fs.FileMode) error             { return errors.ErrUnsupported }

// imageRoot is the root of the controller's image. Reading it from memory makes
// the hundreds of runs quick.
var imageRoot = sync.OnceValue(func() snapshot {
	_, controller := controller()
	image, files := controller.Root, fstest.MapFS{}
	must(fs.WalkDir(image, ".", func(name string, d fs.DirEntry, err error) error {
		must(err)
		info, err := image.Lstat(name)
		must(err)
		file := &fstest.MapFile{Mode: info.Mode()}
		switch info.Mode().Type() {
		case 0:
			file.Data, err = image.ReadFile(name)
		case fs.ModeSymlink:
			var target string
			target, err = image.ReadLink(name)
			file.Data = []byte(target)
		}
		files[name] = file
		return err
	}))
	return snapshot{files}
})

// imageBoot is the boot partition of the controller's image.
func imageBoot() memory {
	disk, image := controller()
	p := image.Table.Partitions[0]
	return disk[p.Start:][:p.Size]
}

// A pi is a card in memory, whose power can fail. The disk is its boot partition. The
// root has a journal: changes get there one after the other, and all of them are sure
// after a sync.
type pi struct {
	*labtest.Disk
	root    *rootfs.Overlay
	history []func(rootfs.Tree) error // changes of root

	batching bool
	waiting  []func() error // renames at the end of a batch
	sure     int            // how many of them are
	faults   faults
	log      []string
}

func newPi() *pi { return withBoot(labtest.NewDisk(imageBoot())) }

// withBoot is a Pi with the image's root and another boot partition.
func withBoot(boot *labtest.Disk) *pi {
	p := &pi{Disk: boot, root: rootfs.NewOverlay(imageRoot())}
	boot.Fault = func(operation string) error { return p.op("boot partition: %s", operation) }
	return p
}

// clone returns a Pi of which all is sure.
func (p *pi) clone() *pi {
	c := withBoot(p.Disk.Clone())
	c.replay(p.history)
	return c
}

// replay makes changes in a root that has none yet.
func (p *pi) replay(history []func(rootfs.Tree) error) {
	for _, change := range history {
		must(change(p.root))
	}
	p.history, p.sure = slices.Clip(history), len(history)
}

// faults makes one operation, or all from one on, fail.
type faults struct {
	at    int // the operation that fails first, counted from 1; 0 for none
	until int // the last one
	err   error
	bug   bool // it panics
	done  int
}

func (p *pi) op(what string, args ...any) error {
	p.faults.done++
	p.log = append(p.log, fmt.Sprintf(what, args...))
	if n := p.faults.done; p.faults.at > 0 && n >= p.faults.at && n <= p.faults.until {
		if p.faults.bug {
			panic("a bug")
		}
		return &fs.PathError{Op: "fault in", Path: p.log[len(p.log)-1], Err: p.faults.err}
	}
	return nil
}

// cut loses some of what is not sure: any sectors of the boot partition, and the last
// changes of the root.
func (p *pi) cut(random *rand.Rand) {
	p.Cut(random)
	p.root = rootfs.NewOverlay(imageRoot())
	p.replay(p.history[:p.sure+random.Intn(len(p.history)-p.sure+1)])
	p.faults = faults{}
}

// A mounted tree is a pi's root as the kernel shows it.
type mounted struct {
	*pi
	readOnly *bool
}

func (m mounted) Open(name string) (fs.File, error)      { return m.root.Open(name) }
func (m mounted) Stat(name string) (fs.FileInfo, error)  { return m.root.Stat(name) }
func (m mounted) Lstat(name string) (fs.FileInfo, error) { return m.root.Lstat(name) }
func (m mounted) ReadLink(name string) (string, error)   { return m.root.ReadLink(name) }
func (m mounted) Mkdir(name string, perm fs.FileMode) error {
	return m.change("mkdir", name, func(t rootfs.Tree) error { return t.Mkdir(name, perm) })
}
func (m mounted) Symlink(target, name string) error {
	return m.change("link", name, func(t rootfs.Tree) error { return t.Symlink(target, name) })
}
func (m mounted) Remove(name string) error {
	return m.change("remove", name, func(t rootfs.Tree) error { return t.Remove(name) })
}
func (m mounted) Chmod(name string, perm fs.FileMode) error {
	return m.change("chmod", name, func(t rootfs.Tree) error { return t.Chmod(name, perm) })
}
func (m mounted) WriteFile(name string, data []byte, perm fs.FileMode) error {
	write := func(t rootfs.Tree) error { return t.WriteFile(name, data, perm) }
	if !m.batching {
		return m.change("write", name, write)
	}
	if err := m.mayChange("write", name); err != nil {
		return err
	}
	m.waiting = append(m.waiting, func() error { return m.change("rename to", name, write) })
	return nil
}

func (m mounted) Batch(change, flush func() error) error {
	m.batching, m.waiting = true, nil
	defer func() { m.batching = false }()
	if err := errors.Join(change(), flush()); err != nil {
		return err
	}
	for _, rename := range m.waiting {
		if err := rename(); err != nil {
			return err
		}
	}
	return nil
}

func (m mounted) mayChange(verb, name string) error {
	if *m.readOnly {
		return &fs.PathError{Op: verb, Path: name, Err: syscall.EROFS}
	}
	return m.op("%s %s", verb, name)
}

func (m mounted) change(verb, name string, change func(rootfs.Tree) error) error {
	if err := m.mayChange(verb, name); err != nil {
		return err
	}
	err := change(m.root)
	if err == nil {
		m.history = append(m.history, change)
	}
	return err
}

// state is all that a card holds and that differs from the image, by name.
func (p *pi) state(t testing.TB) string {
	t.Helper()
	changes, err := p.root.Changes()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, c := range changes {
		if c.New == nil {
			lines[c.Name] = "gone"
			continue
		}
		lines[c.Name] = fmt.Sprintf("%v %q %q", c.New.Mode, c.New.Target, c.New.Data)
	}
	files := p.files(t)
	for name, text := range files {
		lines[bootDir+"/"+name] = text
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "%s: %s\n", name, lines[name])
	}
	return b.String()
}

// files is what the firmware finds in the root directory of the boot partition.
func (p *pi) files(t testing.TB) map[string]string {
	t.Helper()
	fsys, err := fat.Open(p, p.Size())
	if err != nil {
		t.Fatalf("the firmware finds: %v", err)
	}
	entries, err := fsys.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() {
			text, err := fsys.ReadFile(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(text)
		}
	}
	return files
}

// ask makes the command line start the branding with role, as a user would.
func (p *pi) ask(t testing.TB, argument string) {
	t.Helper()
	boot, err := fat.OpenVolume(p, p.Size())
	if err != nil {
		t.Fatal(err)
	}
	text, err := readCommandLine(boot)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimRight(strings.TrimRight(recipe.BlankBranding(string(text)), "\n"), " ") + " init=" + node.ReconfigPath + " " + argument + "\n"
	if err := boot.OverwriteLine(CommandLine, line); err != nil {
		t.Fatal(err)
	}
}

// write puts a file into the boot partition.
func write(t *testing.T, p *pi, name, text string) {
	t.Helper()
	boot, err := fat.OpenVolume(p, p.Size())
	must(err)
	must(boot.WriteFile(name, []byte(text)))
}
