package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// names are what the random operations call files by. They collide: by case, in
// their alias, and by being taken for a directory and a file in turn.
var names = []string{
	"a", "A", "b", "cmdline.txt", "CMDLINE.TXT", "Cmdline.Txt", "KERNEL.IMG", "kernel.img", "config", "config.",
	"overlays", "Overlays", "empty", "UPPER.txt",
	"a long name, 1.txt", "a long name, 2.txt", "A LONG NAME, 1.txt", "a long name, 1.t", "along name.txt", "alongname.txtx",
	".hidden", "..two", " leading", "dots.in.name.tar", "x+y;=[z],.a", "~", "grüße.txt", "GRÜSSE.txt", "漢字", "smile 😀.png",
	"thirteen char", "thirteen chars", strings.Repeat("n", 255), strings.Repeat("ü", 100), strings.Repeat("n", 256), "a:b", "what?",
}

// A model is what the file system should hold. Keys are paths in lower case.
type model map[string]node

type node struct {
	name    string
	dir     bool
	content string
	modTime time.Time
	mode    fs.FileMode
}

func key(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// tree is the model in the form of [tree].
func (m model) tree() map[string]leaf {
	all := map[string]leaf{}
	for k, n := range m {
		all[m.path(k)] = leaf{n.dir, n.content, n.modTime}
	}
	return all
}

func (m model) path(k string) string {
	if k == "." {
		return k
	}
	return path.Join(m.path(path.Dir(k)), m[k].name)
}

func (m model) children(k string) (list []string) {
	for other := range m {
		if other != "." && path.Dir(other) == k {
			list = append(list, other)
		}
	}
	return list
}

// newModel trusts what an FS shows, which TestRead holds against mtools.
func newModel(t tester, fsys *FS) model {
	m := model{}
	for name, l := range tree(t, fsys) {
		mode := fs.FileMode(0o755)
		if l.dir {
			mode |= fs.ModeDir
		}
		m[key(name)] = node{path.Base(name), l.dir, l.content, l.modTime, mode}
	}
	return m
}

// canHold says whether a file can be created under the name.
func (m model) canHold(name string) bool {
	last := path.Base(name)
	return m[path.Dir(key(name))].dir && len(last) < 256 && strings.Trim(last, ".") == strings.TrimLeft(last, ".") &&
		!strings.ContainsAny(last, ":?")
}

// A session is an FS under test beside its model.
type session struct {
	*FS
	model model
	now   time.Time
	image string
}

func (s *session) draw(t *rapid.T, label string) string {
	dirs := []string{".", ".", ".", "overlays", "a", "a long name, 1.txt", "overlays/deep", "empty/EMPTY", "b/b/b"}
	return path.Join(rapid.SampledFrom(dirs).Draw(t, label+" in"), rapid.SampledFrom(names).Draw(t, label))
}

// agree demands an error exactly if the model refuses, and reports whether the operation
// was done. Whether space may be lacking, the callers judge.
func (s *session) agree(t *rapid.T, err error, ok bool) bool {
	if errors.Is(err, ErrNoSpace) && ok {
		return false
	}
	if (err == nil) != ok {
		t.Fatalf("got error %v, the model says %v", err, ok)
	}
	return ok
}

func (s *session) write(t *rapid.T) {
	name := s.draw(t, "name")
	size := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(500, 530), rapid.IntRange(0, 20000),
		rapid.IntRange(-1, 1).Filter(func(i int) bool { return i >= 0 })).Draw(t, "size")
	clusters := rapid.IntRange(0, 3).Draw(t, "clusters")
	if s.table.clusterSize <= 4096 {
		size += clusters * s.table.clusterSize
	}
	content := strings.Repeat(fmt.Sprintf("%d %s\n", s.now.Unix(), name), size/len(name)+1)[:size]
	old, exists := s.model[key(name)]
	free, err := describe(t, s.FS).FreeClusters, s.WriteFile(name, []byte(content), 0o644)
	if !s.agree(t, err, exists && !old.dir || !exists && s.model.canHold(name)) {
		if need := s.table.clustersFor(int64(size)); errors.Is(err, ErrNoSpace) && need+21*32 < free && path.Dir(name) != "." {
			t.Fatalf("%v, but %d clusters are free", err, free)
		}
		return
	}
	n := node{path.Base(name), false, content, s.now, 0o755}
	if exists {
		n.name, n.mode = old.name, old.mode
	}
	s.model[key(name)] = n
}

func (s *session) mkdir(t *rapid.T) {
	name := s.draw(t, "name")
	_, exists := s.model[key(name)]
	if s.agree(t, s.Mkdir(name, 0o700), !exists && s.model.canHold(name)) {
		s.model[key(name)] = node{path.Base(name), true, "", time.Time{}, fs.ModeDir | 0o755}
	}
}

func (s *session) remove(t *rapid.T) {
	name := s.draw(t, "name")
	_, exists := s.model[key(name)]
	if s.agree(t, s.Remove(name), exists && len(s.model.children(key(name))) == 0) {
		delete(s.model, key(name))
	}
}

func (s *session) rename(t *rapid.T) {
	old, new := s.draw(t, "old"), s.draw(t, "new")
	from, to := key(old), key(new)
	n, exists := s.model[from]
	target, taken := s.model[to]
	ok := exists && s.model[path.Dir(to)].dir && to != from && !strings.HasPrefix(to, from+"/")
	if taken {
		ok = ok && !n.dir && !target.dir
	} else {
		ok = ok && s.model.canHold(new)
	}
	if exists && to == from {
		ok = !strings.HasPrefix(path.Dir(to)+"/", from+"/")
	}
	if !s.agree(t, s.Rename(old, new), ok) {
		return
	}
	if n.name = path.Base(new); taken && to != from {
		n.name = target.name
	}
	s.model.move(from, to)
	s.model[to] = n
}

func (m model) move(from, to string) {
	for _, child := range m.children(from) {
		m.move(child, path.Join(to, path.Base(child)))
	}
	n := m[from]
	delete(m, from)
	m[to] = n
}

// reopen closes the file system and opens it again.
func (s *session) reopen(t *rapid.T) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.FS = open(t, s.image)
	s.SetTime(s.now)
}

// save closes the file system, and goes on with it.
func (s *session) save(t *rapid.T) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s *session) tick(t *rapid.T) {
	s.now = s.now.Add(time.Duration(rapid.IntRange(0, 40000).Draw(t, "seconds")) * 2 * time.Second)
	s.SetTime(s.now)
}

// judge compares the model with what we, mtools and fsck.fat see.
func (s *session) judge(t *rapid.T) {
	want := s.model.tree()
	if diff := cmp.Diff(want, tree(t, s.FS), cmp.AllowUnexported(leaf{})); diff != "" {
		t.Fatalf("we see (-want +got):\n%s", diff)
	}
	for k, n := range s.model {
		if info, err := s.Lstat(s.model.path(k)); err != nil || info.Mode() != n.mode {
			t.Fatalf("%s: got mode %v, %v; want %v", k, info.Mode(), err, n.mode)
		}
	}
	used, clusters := fsck(t, s.image)
	if i := describe(t, s.FS); i.Clusters != clusters || i.FreeClusters != clusters-used {
		t.Fatalf("%d of %d clusters free, fsck.fat says %d of %d", i.FreeClusters, i.Clusters, clusters-used, clusters)
	}
	shown := map[string]leaf{}
	for name, l := range want {
		shown[asMtools(name)] = l
	}
	if diff := cmp.Diff(shown, mtoolsTree(t, s.image), cmp.AllowUnexported(leaf{})); diff != "" {
		t.Fatalf("mtools sees (-want +got):\n%s", diff)
	}
}

// TestModel edits images of all formats at random, with all that mkfs left free
// or hardly anything.
func TestModel(t *testing.T) {
	templates := map[string]string{}
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.SampledFrom(formats).Draw(rt, "format")
		nearlyFull := rapid.Bool().Draw(rt, "nearly full")
		name := fmt.Sprint(f, nearlyFull)
		if templates[name] == "" {
			templates[name] = f.make(t)
			populate(t, templates[name])
			if nearlyFull {
				fill(t, templates[name], 40)
			}
		}
		checkModel(rt, templates[name])
	})
}

func checkModel(t *rapid.T, template string) {
	s := &session{now: time.Date(2025, 5, 13, 12, 0, 0, 0, time.UTC), image: copyImage(t, template)}
	s.FS = open(t, s.image)
	s.model = newModel(t, s.FS)
	s.SetTime(s.now)
	t.Repeat(map[string]func(*rapid.T){
		"write": s.write, "write again": s.write, "mkdir": s.mkdir, "remove": s.remove, "rename": s.rename,
		"tick": s.tick, "reopen": s.reopen, "save": s.save,
	})
	s.reopen(t)
	s.judge(t)
}
