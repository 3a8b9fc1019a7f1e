package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// errLink is the error about a name that leads through a symbolic link, or that is a
// symbolic link where a file is wanted.
var errLink = errors.New("is a symbolic link")

// walk finds the inode of a name.
func (f *FS) walk(name string) (*inode, error) {
	ino, err := f.inode(rootInode)
	if err != nil || name == "." {
		return ino, err
	}
	dir := ""
	for base := range strings.SplitSeq(name, "/") {
		if ino, err = f.step(ino, base); err != nil {
			return nil, through(dir, err)
		}
		dir = path.Join(dir, base)
	}
	return ino, nil
}

// through says which directory on the way to a name caused an error.
func through(dir string, err error) error {
	if dir != "" && (err == errLink || err == syscall.ENOTDIR) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return err
}

// step finds the inode of an entry of dir.
func (f *FS) step(dir *inode, name string) (*inode, error) {
	if dir.is(typeLink) {
		return nil, errLink
	}
	d, err := f.directory(dir)
	if err != nil {
		return nil, err
	}
	s, err := d.find(name)
	if err != nil {
		return nil, err
	}
	ino, err := f.inode(s.inode)
	if err == nil && ino.is(typeDir) {
		err = f.checkParent(ino, dir)
	}
	return ino, err
}

// checkParent checks that ".." in ino names dir, so that no path leads in
// circles.
func (f *FS) checkParent(ino, dir *inode) error {
	d, err := f.directory(ino)
	if err != nil {
		return err
	}
	up, ok, err := d.findIn(0, "..")
	if err == nil && (!ok || up.inode != dir.number) {
		err = d.errorf(0, ".. is %d, want %d", up.inode, dir.number)
	}
	return err
}

// A place is a name in a directory, where there may be a file.
type place struct {
	dir  *directory
	base string
	slot slot
	ino  *inode // nil: no file there
}

// place finds the place of a name, whose directory must exist.
func (f *FS) place(name string) (p place, err error) {
	if name == "." {
		return p, fmt.Errorf("the root directory stays: %w", fs.ErrInvalid)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return p, fmt.Errorf("name with a zero byte: %w", fs.ErrInvalid)
	}
	parent, err := f.walk(path.Dir(name))
	if err != nil {
		return p, err
	}
	if parent.is(typeLink) {
		return p, through(path.Dir(name), errLink)
	}
	if p.dir, err = f.directory(parent); err != nil {
		return p, through(path.Dir(name), err)
	}
	p.base = path.Base(name)
	return p, p.find()
}

// find finds the file that is at p now.
func (p *place) find() (err error) {
	p.slot, err = p.dir.find(p.base)
	if errors.Is(err, fs.ErrNotExist) {
		p.ino = nil
		return nil
	}
	if err == nil {
		p.ino, err = p.dir.f.inode(p.slot.inode)
	}
	return err
}

// existing is place for a name that must exist.
func (f *FS) existing(name string) (place, error) {
	p, err := f.place(name)
	if err == nil && p.ino == nil {
		err = fs.ErrNotExist
	}
	return p, err
}

// vacant is place for a name that must not exist.
func (f *FS) vacant(name string) (place, error) {
	p, err := f.place(name)
	if err == nil && p.ino != nil {
		err = fs.ErrExist
	}
	return p, err
}
