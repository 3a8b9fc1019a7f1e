package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// Dir is the Tree in a directory. Its WriteFile leaves, after a power cut, the
// old file or the new one and never half of one.
type Dir struct {
	// Directories that were seen on the way to names, with a root for each open one.
	// Should another program put a link in the place of one, os.Root still lets no
	// name lead out of the root.
	dirs map[string]fs.FileInfo
	open map[string]*os.Root

	batching bool
	written  []string // names whose files wait for the end of a batch
}

// OpenDir opens the directory at path.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{dirs: map[string]fs.FileInfo{}, open: map[string]*os.Root{".": root}}, nil
}

// Close releases the directory.
func (d *Dir) Close() error {
	var errs []error
	for _, dir := range d.open {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}

// directory returns a directory, open, whose name leads through no link.
func (d *Dir) directory(name string) (*os.Root, error) {
	if dir, ok := d.open[name]; ok {
		return dir, nil
	}
	parent, err := d.directory(path.Dir(name))
	if err != nil {
		return nil, err
	}
	dir, err := parent.OpenRoot(path.Base(name))
	if err != nil {
		return nil, named(err, name)
	}
	d.open[name] = dir
	return dir, nil
}

// at calls f with the directory that name, which leads through no link, is in, and
// the last element of name: to open each directory on the way once takes a fraction
// of the time.
func at[T any](d *Dir, name string, f func(dir *os.Root, base string) (T, error)) (result T, err error) {
	dir, err := d.directory(path.Dir(name))
	if err != nil {
		return result, err
	}
	result, err = f(dir, path.Base(name))
	return result, named(err, name)
}

// at is [at] for functions without a result.
func (d *Dir) at(name string, f func(dir *os.Root, base string) error) error {
	_, err := at(d, name, func(dir *os.Root, base string) (struct{}, error) { return struct{}{}, f(dir, base) })
	return err
}

// named gives an error the whole name of the file that it is about.
func named(err error, name string) error {
	if of := new(fs.PathError); errors.As(err, &of) {
		of.Path = name
	}
	if of := new(os.LinkError); errors.As(err, &of) {
		err = &fs.PathError{Op: "symlink", Path: name, Err: of.Err}
	}
	return err
}

// look is Lstat of a name that leads through no link.
func (d *Dir) look(name string) (fs.FileInfo, error) {
	info, err := at(d, name, (*os.Root).Lstat)
	if err == nil && info.IsDir() {
		d.dirs[name] = info
	}
	return info, err
}

// raw gives resolve the links as they are, not as os.Root would follow them.
type raw struct{ *Dir }

func (r raw) Lstat(name string) (fs.FileInfo, error) {
	if info, ok := r.dirs[name]; ok {
		return info, nil
	}
	return r.look(name)
}

func (r raw) ReadLink(name string) (string, error) { return at(r.Dir, name, (*os.Root).Readlink) }

func (d *Dir) resolve(op, name string, follow bool) (string, error) {
	return resolve(raw{d}, op, name, follow)
}

func (d *Dir) Open(name string) (fs.File, error) {
	name, err := d.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	return at(d, name, (*os.Root).Open)
}

func (d *Dir) Lstat(name string) (fs.FileInfo, error) {
	name, err := d.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return d.look(name)
}

func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	name, err := d.resolve("stat", name, true)
	if err != nil {
		return nil, err
	}
	return d.look(name)
}

func (d *Dir) ReadLink(name string) (string, error) {
	name, err := d.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	target, err := at(d, name, (*os.Root).Readlink)
	if err != nil {
		if info, lookErr := d.look(name); lookErr == nil && info.Mode().Type() != fs.ModeSymlink {
			err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
		}
	}
	return target, err
}

func (d *Dir) Mkdir(name string, perm fs.FileMode) error {
	name, err := d.resolve("mkdir", name, false)
	if err != nil {
		return err
	}
	return d.at(name, func(dir *os.Root, base string) error {
		if err := dir.Mkdir(base, perm); err != nil {
			return err
		}
		return dir.Chmod(base, perm) // whatever the umask
	})
}

func (d *Dir) Symlink(target, name string) error {
	name, err := d.resolve("symlink", name, false)
	if err != nil {
		return err
	}
	return d.at(name, func(dir *os.Root, base string) error { return dir.Symlink(target, base) })
}

func (d *Dir) Remove(name string) error {
	name, err := d.resolve("remove", name, false)
	if err != nil {
		return err
	}
	return d.remove(name)
}

func (d *Dir) Chmod(name string, perm fs.FileMode) error {
	name, err := d.resolve("chmod", name, true)
	if err != nil {
		return err
	}
	if slices.Contains(d.written, name) {
		name = temporary(name)
	}
	return d.at(name, func(dir *os.Root, base string) error { return dir.Chmod(base, perm) })
}

// remove removes the file name, which leads through no link.
func (d *Dir) remove(name string) error {
	if dir, ok := d.open[name]; ok && name != "." {
		delete(d.open, name)
		dir.Close()
	}
	delete(d.dirs, name)
	return d.at(name, (*os.Root).Remove)
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
		if err := d.moveIn(name); err != nil {
			return err
		}
	}
	return nil
}

// moveIn gives a file that was written under a temporary name its own name.
func (d *Dir) moveIn(name string) error {
	return d.at(name, func(dir *os.Root, base string) error { return dir.Rename(temporary(base), base) })
}

// temporary is the name under which a file's new content is written.
func temporary(name string) string { return path.Join(path.Dir(name), ".new-"+path.Base(name)) }

// WriteFile implements [Tree] by a temporary file beside the old one. A file
// that is there keeps its owner where the program may give files away.
func (d *Dir) WriteFile(name string, data []byte, perm fs.FileMode) error {
	name, err := d.resolve("write", name, true)
	if err != nil {
		return err
	}
	old, err := at(d, name, (*os.Root).Lstat)
	switch {
	case err == nil && old.IsDir():
		return &fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR}
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
	return d.moveIn(name)
}

// writeNew writes data under a temporary name, and flushes it unless a batch does that
// later. It removes what an earlier attempt left there, with whatever mode.
func (d *Dir) writeNew(name string, data []byte, perm fs.FileMode, old fs.FileInfo) error {
	create := func(dir *os.Root, base string) (*os.File, error) {
		return dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	}
	f, err := at(d, name, create)
	if errors.Is(err, fs.ErrExist) {
		if err := d.remove(name); err != nil {
			return err
		}
		f, err = at(d, name, create)
	}
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
	if err := d.remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
