package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// names are the files of the directory that dir is.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestBatch: files have their names only after the flush, and none if it fails.
func TestBatch(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/old", []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	change := func() error {
		return errors.Join(d.WriteFile("old", []byte("after"), 0o600), d.Chmod("old", 0o644),
			d.WriteFile("new", []byte("new"), 0o755), d.Symlink("new", "link"))
	}
	wrong := errors.New("wrong")
	failed := func() error { return wrong }
	for name, err := range map[string]error{
		"flush":  d.Batch(func() error { return d.WriteFile("old", []byte("after"), 0o600) }, failed),
		"change": d.Batch(func() error { return errors.Join(d.WriteFile("new", nil, 0o600), wrong) }, func() error { return nil }),
	} {
		if text, _ := fs.ReadFile(d, "old"); !errors.Is(err, wrong) || string(text) != "before" || names(t, dir) != "old" {
			t.Errorf("after a wrong %s, with %v: old is %q; files %s", name, err, text, names(t, dir))
		}
	}
	flush := func() error {
		if text, _ := os.ReadFile(dir + "/old"); string(text) != "before" {
			t.Errorf("old is %q before the flush", text)
		}
		if _, err := os.Lstat(dir + "/new"); err == nil {
			t.Error("new is there before the flush")
		}
		return nil
	}
	if err := d.Batch(change, flush); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(dir + "/old")
	info, err := os.Stat(dir + "/old")
	if err != nil || string(text) != "after" || info.Mode() != 0o644 || names(t, dir) != "link new old" {
		t.Errorf("old is %q, %v, %v; files %s", text, info.Mode(), err, names(t, dir))
	}
	if err := errors.Join(d.WriteFile("later", nil, 0o600), d.Chmod("later", 0o640)); err != nil || names(t, dir) != "later link new old" {
		t.Errorf("after a batch: %v; files %s", err, names(t, dir))
	}
}

// TestOpenDirectories: directories that a Dir has open can be removed, made again and
// replaced by links, and errors tell the whole name.
func TestOpenDirectories(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	write := func(text string) error {
		return errors.Join(d.Mkdir("a", 0o755), d.Mkdir("a/b", 0o755), d.WriteFile("a/b/c", []byte(text), 0o644))
	}
	remove := func() error { return errors.Join(d.Remove("a/b/c"), d.Remove("a/b"), d.Remove("a")) }
	err = errors.Join(write("1"), remove(), write("2"), d.Remove("a/b/c"), d.Remove("a/b"), d.Mkdir("b", 0o755), d.Symlink("../b", "a/b"), d.WriteFile("a/b/c", []byte("3"), 0o644))
	if text, readErr := fs.ReadFile(d, "b/c"); err != nil || readErr != nil || string(text) != "3" {
		t.Errorf("%v; b/c is %q, %v", err, text, readErr)
	}
	for _, err := range []error{d.Remove("."), d.Remove("a/none"), d.Mkdir("a", 0o755)} {
		if err == nil {
			t.Error("no error")
		}
	}
	if _, err := fs.ReadFile(d, "b/none"); err == nil || !strings.Contains(err.Error(), " b/none: ") {
		t.Errorf("got error %v, want one that tells the name", err)
	}
}
