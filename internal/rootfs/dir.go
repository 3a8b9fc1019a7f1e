package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// Dir is the Tree in a directory. Its WriteFile leaves, after a power cut, the
// old file or the new one and never half of one.
type Dir struct {
	root *os.Root
	fsys fs.ReadLinkFS
}

// OpenDir opens the directory at path.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{root, root.FS().(fs.ReadLinkFS)}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// raw gives resolve the links as they are, not as os.Root would follow them.
type raw struct{ *os.Root }

func (r raw) ReadLink(name string) (string, error) { return r.Readlink(name) }

func (d *Dir) resolve(op, name string, follow bool) (string, error) {
	return resolve(raw{d.root}, op, name, follow)
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
	return d.root.Remove(name)
}

func (d *Dir) Chmod(name string, perm fs.FileMode) error {
	name, err := d.resolve("chmod", name, true)
	if err != nil {
		return err
	}
	return d.root.Chmod(name, perm)
}

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
	tmp := path.Join(path.Dir(name), ".new-"+path.Base(name))
	if err := d.writeNew(tmp, data, perm, old); err != nil {
		return errors.Join(err, d.removeIfThere(tmp))
	}
	return d.root.Rename(tmp, name)
}

// writeNew leaves data on the disk under a name of its own. What an earlier
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
	return errors.Join(err, f.Chmod(perm), keepOwner(f, old), f.Sync(), f.Close())
}

func (d *Dir) removeIfThere(name string) error {
	if err := d.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
