package rpiboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// An Overlay is several trees in which a file is looked for, first to last.
type Overlay []fs.FS

// Open implements [fs.FS].
func (o Overlay) Open(name string) (fs.File, error) {
	for _, tree := range o {
		f, err := tree.Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Stat implements [fs.StatFS].
func (o Overlay) Stat(name string) (fs.FileInfo, error) {
	for _, tree := range o {
		info, err := fs.Stat(tree, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return info, err
		}
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// A Dir is a directory that a node may write to while its files are served. Links that
// lead out of it are refused, and to open a pipe in it does not wait for a program that
// writes to the pipe.
type Dir struct{ *os.Root }

// Open implements [fs.FS].
func (d Dir) Open(name string) (fs.File, error) {
	f, err := d.Root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenDir opens a directory below a trusted one. A node may write to the directories
// between them, so links there that lead out of the trusted one are refused.
func OpenDir(trusted, name string) (Dir, error) {
	root, err := os.OpenRoot(trusted)
	if err != nil {
		return Dir{}, err
	}
	if name = path.Clean(name); name == "." {
		return Dir{root}, nil
	}
	defer root.Close()
	below, err := root.OpenRoot(name)
	if err != nil {
		return Dir{}, fmt.Errorf("%s: %w", trusted, err)
	}
	return Dir{below}, nil
}
