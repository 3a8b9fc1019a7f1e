package edit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"clusterctrl/internal/tree/rootfs"
)

// WriteFile creates a file, or replaces its content and permissions. The
// directories that it needs are made.
type WriteFile struct {
	Name string
	Data string
	Perm fs.FileMode // zero: 0644 for a new file, as they are for an old one
}

func (w WriteFile) String() string { return "write " + w.Name }

func (w WriteFile) Apply(tree rootfs.Tree) error {
	if err := mkdirAll(tree, path.Dir(w.Name), 0o755); err != nil {
		return err
	}
	perm := w.Perm
	if perm == 0 {
		perm = 0o644
	}
	if err := tree.WriteFile(w.Name, []byte(w.Data), perm); err != nil || w.Perm == 0 {
		return err
	}
	return tree.Chmod(w.Name, perm)
}

// Mkdir creates a directory and those above it. One that is there stays as it
// is.
type Mkdir struct {
	Name string
	Perm fs.FileMode // of those that are made
}

func (m Mkdir) String() string               { return "make directory " + m.Name }
func (m Mkdir) Apply(tree rootfs.Tree) error { return mkdirAll(tree, m.Name, m.Perm) }

func mkdirAll(tree rootfs.Tree, name string, perm fs.FileMode) error {
	info, err := tree.Stat(name)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file is in the way")}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := mkdirAll(tree, path.Dir(name), perm); err != nil {
		return err
	}
	return tree.Mkdir(name, perm)
}

// Symlink makes a symbolic link in place of whatever file is there.
type Symlink struct{ Target, Name string }

func (s Symlink) String() string { return fmt.Sprintf("link %s to %s", s.Name, s.Target) }

func (s Symlink) Apply(tree rootfs.Tree) error {
	if target, err := tree.ReadLink(s.Name); err == nil && target == s.Target {
		return nil
	}
	if err := (Remove{s.Name}).Apply(tree); err != nil {
		return err
	}
	if err := mkdirAll(tree, path.Dir(s.Name), 0o755); err != nil {
		return err
	}
	return tree.Symlink(s.Target, s.Name)
}

// Remove takes away a file, a link or an empty directory, if it is there.
type Remove struct{ Name string }

func (r Remove) String() string { return "remove " + r.Name }

func (r Remove) Apply(tree rootfs.Tree) error {
	if err := tree.Remove(r.Name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveMatching takes away the files that match a pattern, as
// [path.Match] reads it.
type RemoveMatching struct{ Pattern string }

func (r RemoveMatching) String() string { return "remove " + r.Pattern }

func (r RemoveMatching) Apply(tree rootfs.Tree) error {
	names, err := fs.Glob(tree, r.Pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := tree.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// readText returns the content of a file; a missing one is empty.
func readText(tree rootfs.Tree, name string) (string, error) {
	text, err := rootfs.ReadText(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// writeText replaces the content of a file where it differs.
func writeText(tree rootfs.Tree, name, old, new string) error {
	if old == new {
		return nil
	}
	return WriteFile{Name: name, Data: new}.Apply(tree)
}
