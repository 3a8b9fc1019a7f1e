package disk

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
)

// bases lists the bases that are there, by their SHA-256.
func bases(t *testing.T, d Dir) (sums []string) {
	t.Helper()
	for _, name := range must[[]string](t)(filepath.Glob(filepath.Join(d.Path, baseDir, "*"+baseExt))) {
		sums = append(sums, strings.TrimSuffix(filepath.Base(name), baseExt))
	}
	return sums
}

// TestDisks: disks share a base as long as one of them needs it, and each is a node's own.
func TestDisks(t *testing.T) {
	d := Dir{Path: filepath.Join(t.TempDir(), "disk")}
	if ids, err := d.IDs(); len(ids) > 0 || err != nil {
		t.Fatalf("before the first: %v, %v", ids, err)
	}
	one, two := image(1), image(2)
	add(t, d, one, 5, 12)
	add(t, d, two, 6)
	add(t, d, one, 7)
	if ids := must[[]node.ID](t)(d.IDs()); !slices.Equal(ids, []node.ID{5, 6, 7, 12}) {
		t.Errorf("disks of %v", ids)
	}
	if n := len(bases(t, d)); n != 2 {
		t.Errorf("%d bases, want 2", n)
	}
	for id, content := range map[node.ID][]byte{5: one, 6: two, 7: one, 12: one} {
		if got := export(t, d, id); !bytes.Equal(got, whole(content, id)) {
			t.Errorf("%v differs from byte %d on", id, firstDifference(got, whole(content, id)))
		}
	}
	if err := d.Add(context.Background(), adding(two), 8, 6); err == nil || !strings.Contains(err.Error(), "p6 has a disk already") {
		t.Errorf("a second disk: %v", err)
	}
	touch(t, d, 5)
	if bytes.Equal(export(t, d, 5), whole(one, 5)) {
		t.Fatal("the change is lost")
	}
	if err := d.Reset(5); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(export(t, d, 5), whole(one, 5)) {
		t.Error("reset left a change")
	}
	for i, id := range []node.ID{5, 7, 12} {
		if err := d.Remove(id); err != nil {
			t.Fatal(err)
		}
		if n := len(bases(t, d)); n != 2 && i < 2 || n != 1 && i == 2 {
			t.Errorf("%d bases after %d of the disks over one are gone", n, i+1)
		}
	}
	for _, err := range []error{d.Remove(5), d.Reset(5)} {
		if err == nil || !strings.HasPrefix(err.Error(), "p5 has no disk") {
			t.Errorf("of no disk: %v", err)
		}
	}
	left := must[[]string](t)(filepath.Glob(filepath.Join(d.Path, ".*")))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// touch writes to a disk.
func touch(t *testing.T, d Dir, id node.ID) {
	t.Helper()
	o := must[*opened](t)(d.open(id))
	defer o.Close()
	if _, err := o.WriteAt([]byte("changed"), 10_000_001); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedAdd leaves nothing behind, whatever fails.
func TestFailedAdd(t *testing.T) {
	broken := errors.New("broken")
	for name, edit := range map[string]func(*Addition){
		"unpack":    func(a *Addition) { a.Unpack = func(*os.File) error { return broken } },
		"sectors":   func(a *Addition) { a.Sectors = func(string, []node.ID) ([]Sector, error) { return nil, broken } },
		"too large": func(a *Addition) { a.Size = 1 << 20 },
		"half a sector": func(a *Addition) {
			a.Unpack = func(f *os.File) error { return f.Truncate(700) }
		},
		"sector outside": func(a *Addition) {
			a.Sectors = func(string, []node.ID) ([]Sector, error) { return []Sector{{}, {Offset: 1 << 40}}, nil }
		},
	} {
		d := Dir{Path: t.TempDir()}
		a := adding(image(1))
		edit(&a)
		if err := d.Add(context.Background(), a, 5, 6); err == nil {
			t.Errorf("%s: added", name)
		}
		if ids, err := d.IDs(); len(ids) > 0 || err != nil {
			t.Errorf("%s: disks of %v, %v", name, ids, err)
		}
		if left := must[[]string](t)(filepath.Glob(filepath.Join(d.Path, "base/*"))); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
		if left := must[[]string](t)(filepath.Glob(filepath.Join(d.Path, ".p*"))); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
		add(t, d, image(1), 5, 6) // nothing is in the way
	}
}

// TestBase: a base that is missing or was changed is refused, also where its size and time
// are as they were; put back, it serves again.
func TestBase(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	add(t, d, image(1), 5)
	name := filepath.Join(d.Path, baseDir, bases(t, d)[0]+baseExt)
	info := must[os.FileInfo](t)(os.Stat(name))
	refused := func(want string) {
		t.Helper()
		if _, err := d.open(5); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		all := must[[]Status](t)(d.List())
		if len(all) != 1 || all[0].State != Unusable || !strings.Contains(all[0].Error, want) {
			t.Errorf("listed as %+v", all)
		}
	}
	put := func(data []byte) {
		t.Helper()
		if err := errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, data, 0o444), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
			t.Fatal(err)
		}
	}
	damaged := image(1)
	damaged[imageSize/2]++
	put(damaged)
	refused("the base was changed: it has 4194304 bytes with SHA-256 ")
	put(damaged[:imageSize-sector])
	refused("the base was changed: it has 4193792 bytes")
	put(image(1))
	if !bytes.Equal(export(t, d, 5), whole(image(1), 5)) {
		t.Error("the base that was put back serves wrongly")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	refused("its base is missing: want an image with SHA-256 ")
}

// TestDamagedChanges: the error names a file that should hold changes and does not.
// All bases stay, since the damaged file cannot say which base the disk needs.
func TestDamagedChanges(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	add(t, d, image(1), 5)
	add(t, d, image(2), 6)
	text := must[[]byte](t)(os.ReadFile(d.file(5)))
	text[40]++
	if err := os.WriteFile(d.file(5), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.open(5); !errors.Is(err, ErrChanges) {
		t.Errorf("opened: %v", err)
	}
	if err := d.Remove(6); err != nil {
		t.Fatal(err)
	}
	if n := len(bases(t, d)); n != 2 {
		t.Errorf("%d bases", n)
	}
	if err := d.Remove(5); err != nil {
		t.Fatal(err)
	}
	if n := len(bases(t, d)); n != 0 {
		t.Errorf("%d bases of no disk", n)
	}
}

// TestBusy: one program at a time changes disks.
func TestBusy(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	a := adding(image(1))
	a.Sectors = func(string, []node.ID) ([]Sector, error) { return nil, d.Remove(5) }
	if err := d.Add(context.Background(), a, 5); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

// FuzzHeader opens files of changes that are wrong in any way.
func FuzzHeader(f *testing.F) {
	good := must[[]byte](f)(newHeader(16<<20, Base{Size: 4 << 20}, Sector{Offset: 512}).encode())
	f.Add(good[:700])
	for _, at := range []int{0, 16, 20, 24, 31, 32, 40, 80, 600} {
		bad := bytes.Clone(good[:700])
		bad[at]++
		f.Add(bad)
	}
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := readHeader(bytes.NewReader(text))
		if err != nil && !errors.Is(err, ErrChanges) {
			t.Errorf("%v", err)
		}
		if err == nil && (h.Size <= 0 || h.Size > maxSize || h.Base.Size > h.Size || h.First.Offset > h.Size-sector) {
			t.Errorf("taken: %s", hex.EncodeToString(text))
		}
	})
}
