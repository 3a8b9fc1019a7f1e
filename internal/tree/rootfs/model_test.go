package rootfs

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"pgregory.net/rapid"
)

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
