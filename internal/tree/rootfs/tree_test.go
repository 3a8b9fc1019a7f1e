package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

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

// expect holds an error against the one that every Tree has for the operation.
func expect(t *rapid.T, op, name string, err, want error) {
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("%s(%q) = %v, want %v", op, name, err, want)
	}
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		t.Fatalf("%s(%q) = %v of type %T, want a PathError", op, name, err, err)
	}
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
