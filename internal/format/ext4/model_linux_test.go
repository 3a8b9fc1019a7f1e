package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model does to a tree what an editor should do to a file system.
type model struct {
	editor
	tree
	image string
	now   time.Time
	tight bool // operations may fail for lack of room
	small bool // inodes of 128 bytes
}

func newModel(t *rapid.T) *model {
	l := rapid.SampledFrom(layouts).Draw(t, "layout")
	image := copyImage(t, l.template(t))
	m := &model{image: image, tree: l.seen(t), editor: openImage(t, image), now: time.Unix(1.8e9, 5)}
	m.tight = l.name == "few inodes"
	m.small = m.super.InodeSize == shortInode
	m.SetTime(m.now)
	if rapid.IntRange(0, 3).Draw(t, "full") == 0 {
		m.fillUp(t)
	}
	return m
}

// seen is the tree of the layout's template, as Linux sees it.
func (l layout) seen(t fataler) tree {
	t.Helper()
	image := l.template(t)
	templateMu.Lock()
	defer templateMu.Unlock()
	if trees[l.name] == nil {
		trees[l.name] = fullTree(t, image)
	}
	return trees[l.name].clone()
}

var trees = map[string]tree{}

// fillUp takes nearly all blocks, and gives some back in small pieces.
func (m *model) fillUp(t *rapid.T) {
	m.tight = true
	size := m.blockSize * rapid.IntRange(1, 30).Draw(t, "piece")
	leave := rapid.IntRange(0, 100).Draw(t, "blocks left")
	if !m.mkdir(t, "full") {
		return
	}
	var names []string
	for i := 0; int(m.free().blocks) > leave+2*size/m.blockSize; i++ {
		name := fmt.Sprintf("full/%d", i)
		if i%8 == 0 && i > 0 {
			size = max(size, int(m.free().blocks)/20*m.blockSize)
		} else {
			size = m.blockSize * (i%8 + 1)
		}
		if !m.write(t, name, strings.Repeat("f", size)) {
			break
		}
		names = append(names, name)
	}
	for i := range names {
		if i%8 == 1 || i%8 == 4 {
			m.remove(t, names[i])
		}
	}
}

// stamp is a time as the file system keeps it.
func (m *model) stamp(t time.Time) int64 {
	if !m.small {
		return t.UnixNano()
	}
	return min(t.Unix(), math.MaxInt32) * 1e9
}

func (m *model) touch(name string) {
	m.tree[name].mtime, m.tree[name].ctime = m.stamp(m.now), m.stamp(m.now)
}

func (m *model) isDir(name string) bool { return m.tree[name] != nil && m.tree[name].mode.IsDir() }

func (m *model) children(dir string) (names []string) {
	for name := range m.tree {
		if name != "." && path.Dir(name) == dir {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// did reports whether an operation succeeded. The test fails if the model says otherwise.
func (m *model) did(t *rapid.T, err error, ok bool, op ...any) bool {
	switch {
	case err != nil && m.tight && errors.Is(err, ErrNoSpace):
		return false
	case (err == nil) != ok:
		t.Fatalf("%v: error %v, want success: %v", op, err, ok)
	case errors.Is(err, ErrCorrupt):
		t.Fatalf("%v: %v", op, err)
	}
	return ok
}

func (m *model) born(name string, mode fs.FileMode, content string) {
	now := m.stamp(m.now)
	m.tree[name] = &record{mode: mode, links: 1, content: content, atime: now, mtime: now, ctime: now}
	m.touch(path.Dir(name))
}

func (m *model) write(t *rapid.T, name, content string) bool {
	old := m.tree[name]
	ok := m.isDir(path.Dir(name)) && (old == nil || old.mode.IsRegular())
	if !m.did(t, m.WriteFile(name, []byte(content), 0o640), ok, "write", name, len(content)) {
		return false
	}
	if old == nil {
		m.born(name, 0o640, content)
	} else {
		old.content = content
		m.touch(name)
	}
	return true
}

func (m *model) mkdir(t *rapid.T, name string) bool {
	ok := m.isDir(path.Dir(name)) && m.tree[name] == nil
	if !m.did(t, m.Mkdir(name, 0o751|fs.ModeSticky), ok, "mkdir", name) {
		return false
	}
	m.born(name, 0o751|fs.ModeDir|fs.ModeSticky, "")
	m.tree[name].links = 2
	m.tree[path.Dir(name)].links++
	return true
}

func (m *model) symlink(t *rapid.T, target, name string) {
	ok := m.isDir(path.Dir(name)) && m.tree[name] == nil && len(target) < min(4096, m.blockSize)
	if m.did(t, m.Symlink(target, name), ok, "symlink", name, len(target)) {
		m.born(name, 0o777|fs.ModeSymlink, target)
	}
}

func (m *model) remove(t *rapid.T, name string) {
	ok := m.tree[name] != nil && name != "." && len(m.children(name)) == 0
	if m.did(t, m.Remove(name), ok, "remove", name) {
		m.drop(name)
		m.touch(path.Dir(name))
	}
}

// drop takes a name away.
func (m *model) drop(name string) {
	r := m.tree[name]
	delete(m.tree, name)
	if r.mode.IsDir() {
		m.tree[path.Dir(name)].links--
		return
	}
	r.links--
	r.ctime = m.stamp(m.now)
}

// existing draws a name that exists in most cases.
func (m *model) existing(t *rapid.T) string {
	if rapid.IntRange(0, 15).Draw(t, "missing") == 0 {
		return m.fresh(t)
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.tree))).Draw(t, "name")
}

// dir draws a directory.
func (m *model) dir(t *rapid.T) string {
	dirs := slices.DeleteFunc(slices.Sorted(maps.Keys(m.tree)), func(name string) bool { return !m.isDir(name) })
	return rapid.SampledFrom(dirs).Draw(t, "directory")
}

var bases = rapid.OneOf(rapid.StringMatching(`[a-c]{1,2}`), rapid.StringMatching(`[a-z\xe0-\xff]{1,20}`),
	rapid.Just(strings.Repeat("n", 255)), rapid.Just(strings.Repeat("ö", 100)))

// fresh draws a name in a directory. The name may be taken.
func (m *model) fresh(t *rapid.T) string {
	return path.Join(m.dir(t), bases.Draw(t, "base"))
}

// actions are the operations that rapid chooses from.
func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"write": func(t *rapid.T) {
			name, piece := m.fresh(t), rapid.SampledFrom([]string{"", "x", "0123456789", strings.Repeat("y", 1024), strings.Repeat("z", 70000)}).Draw(t, "piece")
			m.write(t, name, strings.Repeat(piece, rapid.IntRange(1, 9).Draw(t, "times")))
		},
		"overwrite": func(t *rapid.T) {
			m.write(t, m.existing(t), strings.Repeat("o", rapid.IntRange(0, 30000).Draw(t, "size")))
		},
		"mkdir": func(t *rapid.T) { m.mkdir(t, m.fresh(t)) },
		"symlink": func(t *rapid.T) {
			size := rapid.SampledFrom([]int{1, 58, 59, 60, 61, 200, 1000, 1023, 1024, 4095, 4096}).Draw(t, "size")
			m.symlink(t, strings.Repeat("s", size), m.fresh(t))
		},
		"remove": func(t *rapid.T) { m.remove(t, m.existing(t)) },
		"fill": func(t *rapid.T) {
			dir, length := m.dir(t), rapid.IntRange(1, 200).Draw(t, "length")
			for i := range rapid.IntRange(1, 120).Draw(t, "count") {
				m.write(t, path.Join(dir, fmt.Sprintf("%d-%s", i, strings.Repeat("l", length))), "")
			}
		},
		"purge": func(t *rapid.T) {
			dir, every := m.dir(t), rapid.IntRange(1, 3).Draw(t, "every")
			for i, name := range m.children(dir) {
				if i%every == 0 && name != "lost+found" {
					m.remove(t, name)
				}
			}
		},
		"chmod": func(t *rapid.T) {
			name, mode := m.existing(t), rapid.SampledFrom([]fs.FileMode{0, 0o755, 0o7 | fs.ModeSetuid, fs.ModeSetgid | 0o2, fs.ModeSticky}).Draw(t, "mode")
			if os.Getuid() != 0 {
				mode |= 0o700 // or what debugfs copies cannot be read
			}
			r := m.tree[name]
			if m.did(t, m.Chmod(name, mode), r != nil && r.mode.Type() != fs.ModeSymlink && !strings.Contains(r.xattrs, "acl_access"), "chmod", name) {
				r.mode, r.ctime = r.mode.Type()|mode, m.stamp(m.now)
			}
		},
		"clock": func(t *rapid.T) { m.now = times.Draw(t, "now"); m.SetTime(m.now) },
		"close": func(t *rapid.T) {
			m.done(t)
			m.editor = openImage(t, m.image)
			m.SetTime(m.now)
		},
	}
}

var times = rapid.Custom(func(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(-1<<31+1, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
})

// TestModel compares an edited file system with a model, by the judgement of
// e2fsck and Linux.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer os.Remove(m.image)
		defer m.file.Close()
		t.Repeat(m.actions())
		m.done(t)
		judge(t, m.image, m.tree)
	})
}
