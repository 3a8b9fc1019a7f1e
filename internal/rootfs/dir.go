package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Dir is the Tree in a directory. Its WriteFile leaves, after a power cut, the
// old file or the new one and never half of one.
type Dir struct {
	root *os.Root
	fsys fs.ReadLinkFS
	dirs map[string]fs.FileInfo // that were seen on the way to names

	batching bool
	written  []string // names whose files wait for the end of a batch
}

// OpenDir opens the directory at path.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, fsys: root.FS().(fs.ReadLinkFS), dirs: map[string]fs.FileInfo{}}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// raw gives resolve the links as they are, not as os.Root would follow them. It
// looks at a directory once: should another program put a link in its place, os.Root
// still lets no name lead out of the root.
type raw struct{ *Dir }

func (r raw) Lstat(name string) (fs.FileInfo, error) {
	if info, ok := r.dirs[name]; ok {
		return info, nil
	}
	info, err := r.root.Lstat(name)
	if err == nil && info.IsDir() {
		r.dirs[name] = info
	}
	return info, err
}

func (r raw) ReadLink(name string) (string, error) { return r.root.Readlink(name) }

func (d *Dir) resolve(op, name string, follow bool) (string, error) {
	return resolve(raw{d}, op, name, follow)
}

func (d *Dir) Open(name string) (fs.File, error) {
	name, err := d.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	return d.fsys.Open(name)
}

func (d *Dir) Lstat(name string) (fs.FileInfo, error) {
	name, err := d.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return d.root.Lstat(name)
}

func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	name, err := d.resolve("stat", name, true)
	if err != nil {
		return nil, err
	}
	return d.root.Lstat(name)
}

func (d *Dir) ReadLink(name string) (string, error) {
	name, err := d.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	return d.root.Readlink(name)
}

func (d *Dir) Mkdir(name string, perm fs.FileMode) error {
	name, err := d.resolve("mkdir", name, false)
	if err != nil {
		return err
	}
	if err := d.root.Mkdir(name, perm); err != nil {
		return err
	}
	return d.root.Chmod(name, perm) // whatever the umask
}

func (d *Dir) Symlink(target, name string) error {
	name, err := d.resolve("symlink", name, false)
	if err != nil {
		return err
	}
	return d.root.Symlink(target, name)
}

func (d *Dir) Remove(name string) error {
	name, err := d.resolve("remove", name, false)
	if err != nil {
		return err
	}
	delete(d.dirs, name)
	return d.root.Remove(name)
}

func (d *Dir) Chmod(name string, perm fs.FileMode) error {
	name, err := d.resolve("chmod", name, true)
	if err != nil {
		return err
	}
	if slices.Contains(d.written, name) {
		name = temporary(name)
	}
	return d.root.Chmod(name, perm)
}

// Batch runs change, in which no name is written twice. The files that it writes
// are under their names only at the end, after one flush of all: a disk takes its
// time for each.
func (d *Dir) Batch(change, flush func() error) error {
	d.batching = true
	defer func() { d.batching, d.written = false, nil }()
	if err := errors.Join(change(), flush()); err != nil {
		for _, name := range d.written {
			err = errors.Join(err, d.removeIfThere(temporary(name)))
		}
		return err
	}
	for _, name := range d.written {
		if err := d.root.Rename(temporary(name), name); err != nil {
			return err
		}
	}
	return nil
}

// temporary is the name of what a file is to become.
func temporary(name string) string { return path.Join(path.Dir(name), ".new-"+path.Base(name)) }

// WriteFile implements [Tree] by a temporary file beside the old one. A file
// that is there keeps its owner where the program may give files away.
func (d *Dir) WriteFile(name string, data []byte, perm fs.FileMode) error {
	name, err := d.resolve("write", name, true)
	if err != nil {
		return err
	}
	old, err := d.root.Lstat(name)
	switch {
	case err == nil && old.IsDir():
		return &fs.PathError{Op: "write", Path: name, Err: errIsDir}
	case err == nil:
		perm = old.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	tmp := temporary(name)
	if err := d.writeNew(tmp, data, perm, old); err != nil {
		return errors.Join(err, d.removeIfThere(tmp))
	}
	if d.batching {
		d.written = append(d.written, name)
		return nil
	}
	return d.root.Rename(tmp, name)
}

// writeNew leaves data, on the disk but in a batch, under a name of its own. What an earlier
// attempt left there, with whatever mode, goes.
func (d *Dir) writeNew(name string, data []byte, perm fs.FileMode, old fs.FileInfo) error {
	if err := d.removeIfThere(name); err != nil {
		return err
	}
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), keepOwner(f, old))
	if !d.batching {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

func (d *Dir) removeIfThere(name string) error {
	if err := d.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
