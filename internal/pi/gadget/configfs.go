package gadget

import (
	"io/fs"
	"os"
	"path/filepath"
)

// gadgets is the directory of all gadgets in configfs. Names are relative to it,
// with slashes, and so is what a link leads to.
type gadgets interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Lstat(name string) (fs.FileInfo, error)
	Mkdir(name string) error
	Write(name, value string) error // of an attribute
	Symlink(target, name string) error
	Remove(name string) error // a directory or a link
}

// configFS is the kernel's.
type configFS string

func (c configFS) path(name string) string { return filepath.Join(string(c), name) }

func (c configFS) ReadFile(name string) ([]byte, error)       { return os.ReadFile(c.path(name)) }
func (c configFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(c.path(name)) }
func (c configFS) Lstat(name string) (fs.FileInfo, error)     { return os.Lstat(c.path(name)) }
func (c configFS) Mkdir(name string) error                    { return os.Mkdir(c.path(name), 0o755) }
func (c configFS) Symlink(target, name string) error          { return os.Symlink(c.path(target), c.path(name)) }
func (c configFS) Remove(name string) error                   { return os.Remove(c.path(name)) }

// Write writes in one piece, which is how the kernel takes an attribute.
func (c configFS) Write(name, value string) error {
	f, err := os.OpenFile(c.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
