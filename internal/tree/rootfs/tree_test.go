package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"pgregory.net/rapid"
)

func TestDir(t *testing.T) {
	testTree(t, unix, func(t *rapid.T) (Tree, func()) {
		dir := memoryDir(t)
		tree, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		return tree, func() {}
	})
}

// TestOverlay has the overlay's changes made in its base in the end, which
// must then be as the overlay was.
func TestOverlay(t *testing.T) {
	testTree(t, unix, func(t *rapid.T) (Tree, func()) {
		dir := memoryDir(t)
		base, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { base.Close() })
		for _, name := range []string{"a", "b"} {
			if err := errors.Join(base.Mkdir(name, 0o700), base.WriteFile(name+"/c", []byte("old"), 0o600), base.Symlink("c", name+"/ab")); err != nil {
				t.Fatal(err)
			}
		}
		if err := base.Symlink("a", "c"); err != nil {
			t.Fatal(err)
		}
		overlay := NewOverlay(base)
		for _, name := range []string{"a", "b"} {
			if err := errors.Join(overlay.Remove(name+"/c"), overlay.Remove(name+"/ab"), overlay.Remove(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := overlay.Remove("c"); err != nil {
			t.Fatal(err)
		}
		return overlay, func() {
			changes, err := overlay.Changes()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if err := c.Apply(base); err != nil {
					t.Fatalf("%s: %v", c.Name, err)
				}
			}
			if got, want := everything(t, base), everything(t, overlay); got != want {
				t.Fatalf("after the changes the base has\n%swant\n%s", got, want)
			}
		}
	})
}

// TestImage works in a directory of each partition of the sample image, as it is and
// through an overlay whose changes are made in the end, and asks e2fsck and fsck.fat
// what became of it.
func TestImage(t *testing.T) {
	for _, partition := range []struct {
		name, dir string
		kind      kind
	}{{"root", "srv/test", unix}, {"boot", "boot/firmware/test", onFAT}} {
		for _, overlaid := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, overlaid %t", partition.name, overlaid), func(t *testing.T) {
				testImage(t, partition.kind, partition.dir, overlaid)
			})
		}
	}
}

func testImage(t *testing.T, kind kind, dir string, overlaid bool) {
	trees := 0
	testTree(t, kind, func(t *rapid.T) (Tree, func()) {
		disk := newDisk(t)
		image := openImage(t, disk)
		var tree Tree = image
		overlay := NewOverlay(image)
		if overlaid {
			tree = overlay
		}
		if err := tree.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return &sub{tree, dir}, func() {
			before := everything(t, &sub{tree, dir})
			changes, err := overlay.Changes()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if err := c.Apply(image); err != nil {
					t.Fatalf("%s: %v", c.Name, err)
				}
			}
			if err := image.Close(); err != nil {
				t.Fatal(err)
			}
			if after := everything(t, &sub{openImage(t, disk), dir}); after != before {
				t.Fatalf("written\n%sread back\n%s", before, after)
			}
			if trees++; trees%5 == 1 { // it takes longer than all else
				check(t, disk)
			}
		}
	})
}

// memoryDir makes a directory in memory, where there is one for files: each
// write waits for the disk.
func memoryDir(t *rapid.T) string {
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "tree")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A kind says what a Tree can hold.
type kind int

const (
	unix  kind = iota
	onFAT      // no links, and all permissions are 0755
)

// testTree is what every Tree must do. It compares one with a map under random
// operations, the errors too, then has [fstest.TestFS] read all of it back. finish
// is called in the end.
func testTree(t *testing.T, kind kind, open func(*rapid.T) (tree Tree, finish func())) {
	element := rapid.SampledFrom([]string{"a", "b", "c", "ab"})
	name := rapid.Custom(func(t *rapid.T) string {
		return path.Join(rapid.SliceOfN(element, 1, 3).Draw(t, "name")...)
	})
	perms := []fs.FileMode{0o755, 0o644, 0o600}
	if kind == onFAT {
		perms = perms[:1]
	}
	perm := rapid.SampledFrom(perms)
	rapid.Check(t, func(t *rapid.T) {
		tree, finish := open(t)
		m := model{}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				name, data, perm := name.Draw(t, "name"), rapid.String().Draw(t, "data"), perm.Draw(t, "perm")
				err := tree.WriteFile(name, []byte(data), perm)
				expect(t, "WriteFile", name, err, m.write(name, data, perm))
			},
			"mkdir": func(t *rapid.T) {
				name, perm := name.Draw(t, "name"), perm.Draw(t, "perm")
				err := tree.Mkdir(name, perm)
				expect(t, "Mkdir", name, err, m.add(name, &File{Mode: fs.ModeDir | perm}))
			},
			"symlink": func(t *rapid.T) {
				name, target := name.Draw(t, "name"), element.Draw(t, "target")
				err := tree.Symlink(target, name)
				if kind == onFAT {
					if err == nil {
						t.Fatal("FAT has taken a link")
					}
					return
				}
				expect(t, "Symlink", name, err, m.add(name, &File{Mode: fs.ModeSymlink | 0o777, Target: target}))
			},
			"remove": func(t *rapid.T) {
				name := name.Draw(t, "name")
				expect(t, "Remove", name, tree.Remove(name), m.remove(name))
			},
			"chmod": func(t *rapid.T) {
				name, perm := name.Draw(t, "name"), perm.Draw(t, "perm")
				expect(t, "Chmod", name, tree.Chmod(name, perm), m.chmod(name, perm))
			},
			"read": func(t *rapid.T) {
				name := name.Draw(t, "name")
				got, err := fs.ReadFile(tree, name)
				data, want := m.read(name)
				if expect(t, "ReadFile", name, err, want); string(got) != data {
					t.Fatalf("ReadFile(%q) = %q, want %q", name, got, data)
				}
			},
			"readlink": func(t *rapid.T) {
				name := name.Draw(t, "name")
				got, err := tree.ReadLink(name)
				target, want := m.readLink(name)
				if expect(t, "ReadLink", name, err, want); got != target {
					t.Fatalf("ReadLink(%q) = %q, want %q", name, got, target)
				}
			},
			"": func(t *rapid.T) {
				if got, want := everything(t, tree), m.everything(); got != want {
					t.Fatalf("the tree has\n%swant\n%s", got, want)
				}
			},
		})
		names := slices.DeleteFunc(slices.Collect(maps.Keys(m)), func(name string) bool {
			_, err := m.stat(name)
			return err != nil
		})
		if err := fstest.TestFS(tree, names...); err != nil && !onlyBrokenLinks(err) {
			t.Fatal(err)
		}
		finish()
	})
}

// onlyBrokenLinks reports whether TestFS complained of links that lead nowhere
// or to themselves, which a tree may have.
func onlyBrokenLinks(err error) bool {
	for line := range strings.Lines(err.Error()) {
		ok := strings.HasPrefix(line, "TestFS found") || !strings.Contains(line, ": ") || strings.Contains(line, "file does not exist") ||
			strings.Contains(line, "no such file") || strings.Contains(line, syscall.ELOOP.Error()) || strings.Contains(line, syscall.ENOTDIR.Error()) || strings.Contains(line, "expected")
		if !ok {
			return false
		}
	}
	return true
}

// model is a tree in memory, by names that lead through no link.
type model map[string]*File

// resolve does what the resolve of trees should, in its own way: recursively.
func (m model) resolve(name string, follow bool, links int) (string, error) {
	if name == "." {
		return ".", nil
	}
	dir, err := m.resolve(path.Dir(name), true, links)
	if err != nil {
		return "", err
	}
	switch f := m[dir]; {
	case dir == ".":
	case f == nil:
		return "", fs.ErrNotExist
	case !f.Mode.IsDir():
		return "", syscall.ENOTDIR
	}
	at := path.Join(dir, path.Base(name))
	if f := m[at]; f != nil && f.Mode.Type() == fs.ModeSymlink && follow {
		if links == 0 {
			return "", syscall.ELOOP
		}
		return m.resolve(path.Join(dir, f.Target), true, links-1)
	}
	return at, nil
}

// stat returns where the file is that name leads to.
func (m model) stat(name string) (string, error) {
	at, err := m.resolve(name, true, maxLinks)
	if err == nil && m[at] == nil {
		err = fs.ErrNotExist
	}
	return at, err
}

// lstat is stat, but for a link at the end.
func (m model) lstat(name string) (string, error) {
	at, err := m.resolve(name, false, maxLinks)
	if err == nil && m[at] == nil {
		err = fs.ErrNotExist
	}
	return at, err
}

func (m model) add(name string, f *File) error {
	at, err := m.resolve(name, false, maxLinks)
	if err != nil {
		return err
	}
	if m[at] != nil {
		return fs.ErrExist
	}
	m[at] = f
	return nil
}

func (m model) write(name, data string, perm fs.FileMode) error {
	at, err := m.resolve(name, true, maxLinks)
	if err != nil {
		return err
	}
	if old := m[at]; old != nil {
		if old.Mode.IsDir() {
			return syscall.EISDIR
		}
		perm = old.Mode
	}
	m[at] = &File{Mode: perm, Data: []byte(data)}
	return nil
}

func (m model) remove(name string) error {
	at, err := m.lstat(name)
	if err != nil {
		return err
	}
	for other := range m {
		if path.Dir(other) == at {
			return syscall.ENOTEMPTY
		}
	}
	delete(m, at)
	return nil
}

func (m model) chmod(name string, perm fs.FileMode) error {
	at, err := m.stat(name)
	if err == nil {
		old := m[at]
		m[at] = &File{old.Mode.Type() | perm, old.Data, old.Target}
	}
	return err
}

func (m model) read(name string) (string, error) {
	at, err := m.stat(name)
	if err != nil {
		return "", err
	}
	if m[at].Mode.IsDir() {
		return "", syscall.EISDIR
	}
	return string(m[at].Data), nil
}

func (m model) readLink(name string) (string, error) {
	at, err := m.lstat(name)
	if err == nil && m[at].Mode.Type() != fs.ModeSymlink {
		err = fs.ErrInvalid
	}
	if err != nil {
		return "", err
	}
	return m[at].Target, nil
}

// expect holds an error against the one that every Tree has for the operation.
func expect(t *rapid.T, op, name string, err, want error) {
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("%s(%q) = %v, want %v", op, name, err, want)
	}
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		t.Fatalf("%s(%q) = %v of type %T, want a PathError", op, name, err, err)
	}
}

func (m model) everything() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s %v %q %s\n", name, m[name].Mode, m[name].Data, m[name].Target)
	}
	return b.String()
}

// everything lists a tree, its links not followed.
func everything(t *rapid.T, tree Tree) string {
	m := model{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		m[name], err = NewOverlay(tree).base.file(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.everything()
}

// sub is a directory of a Tree as a Tree, for tests that fill one.
type sub struct {
	Tree
	dir string
}

// in leaves an invalid name invalid.
func (s *sub) in(name string) string {
	if !fs.ValidPath(name) {
		return name
	}
	return path.Join(s.dir, name)
}

func (s *sub) Open(name string) (fs.File, error)         { return s.Tree.Open(s.in(name)) }
func (s *sub) Lstat(name string) (fs.FileInfo, error)    { return s.Tree.Lstat(s.in(name)) }
func (s *sub) Stat(name string) (fs.FileInfo, error)     { return s.Tree.Stat(s.in(name)) }
func (s *sub) ReadLink(name string) (string, error)      { return s.Tree.ReadLink(s.in(name)) }
func (s *sub) Mkdir(name string, perm fs.FileMode) error { return s.Tree.Mkdir(s.in(name), perm) }
func (s *sub) Symlink(target, name string) error         { return s.Tree.Symlink(target, s.in(name)) }
func (s *sub) Remove(name string) error                  { return s.Tree.Remove(s.in(name)) }
func (s *sub) Chmod(name string, perm fs.FileMode) error { return s.Tree.Chmod(s.in(name), perm) }
func (s *sub) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return s.Tree.WriteFile(s.in(name), data, perm)
}

// sampleDisk is the sample image, unpacked once.
var sampleDisk = sync.OnceValues(func() ([]byte, error) {
	return io.ReadAll(xz.NewReader(bytes.NewReader(sample.Image), 1<<26))
})

// disk is a copy of the sample image that keeps changed pages only.
type disk struct {
	base  []byte
	pages map[int64][]byte
}

const page = 4096

func newDisk(t interface{ Fatal(...any) }) *disk {
	base, err := sampleDisk()
	if err != nil {
		t.Fatal(err)
	}
	return &disk{base, map[int64][]byte{}}
}

func (d *disk) size() int64 { return int64(len(d.base)) }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < d.size() {
		in, at := off/page, off%page
		src, changed := d.pages[in]
		if !changed {
			src = d.base[in*page : (in+1)*page]
		}
		k := copy(p[n:], src[at:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		in, at := off/page, off%page
		if d.pages[in] == nil {
			d.pages[in] = bytes.Clone(d.base[in*page : (in+1)*page])
		}
		k := copy(d.pages[in][at:], p[n:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func openImage(t interface{ Fatal(...any) }, d *disk) *Image {
	image, err := OpenImage(d, d.size())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// check asks e2fsck and fsck.fat for their opinion of the partitions.
func check(t interface{ Fatalf(string, ...any) }, d *disk) {
	dir, err := os.MkdirTemp("", "fsck")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	image, err := OpenImage(d, d.size())
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i, program := range [][]string{{"fsck.fat", "-n"}, {"e2fsck", "-fn"}} {
		p := image.Table.Partitions[i]
		file := filepath.Join(dir, program[0])
		if err := extract(d, p.Start, p.Size, file); err != nil {
			t.Fatalf("%v", err)
		}
		if out, err := exec.Command(program[0], program[1], file).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program[0], err, out)
		}
	}
}

func extract(d *disk, start, size int64, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, page)
	for off := int64(0); off < size; off += page {
		if _, err := d.ReadAt(buf, start+off); err != nil {
			return err
		}
		if !bytes.Equal(buf, make([]byte, page)) {
			if _, err := f.WriteAt(buf, off); err != nil {
				return err
			}
		}
	}
	return f.Truncate(size)
}
