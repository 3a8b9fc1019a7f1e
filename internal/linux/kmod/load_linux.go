package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir returns the directory of the running kernel's modules.
func Dir() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return filepath.Join("/lib/modules", unix.ByteSliceToString(name.Release[:])), nil
}

// Load loads modules, each behind all that it depends on, from dir (see [Dir]).
// Load skips modules that the kernel has already, loaded or built in. A module that
// cannot be loaded does not keep Load from the others: the error is about all such
// modules, and wraps [ErrNotFound] if one is not there.
func Load(dir string, modules ...string) error {
	tree := os.DirFS(dir)
	var x index
	var errs []error
	for _, module := range modules {
		if loaded(moduleName(module)) {
			continue
		}
		if x.lines == nil {
			var err error
			if x, err = readIndex(tree); err != nil {
				return err
			}
		}
		if err := x.load(tree, module); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// loaded tells whether the kernel has a module and has started it. It is false where
// /sys is not mounted, and for a built-in module without parameters: the index and the
// kernel itself then prevent a second load.
func loaded(name string) bool {
	dir := "/sys/module/" + name
	state, err := os.ReadFile(dir + "/initstate")
	if errors.Is(err, fs.ErrNotExist) { // a built-in one has no state
		_, err = os.Stat(dir)
		return err == nil
	}
	return string(state) == "live\n"
}

func (x index) load(tree fs.FS, module string) error {
	files, err := x.order(module)
	if err != nil {
		return err
	}
	for _, file := range files {
		if loaded(moduleName(file)) {
			continue
		}
		if err := insert(tree, file); err != nil {
			return fmt.Errorf("load %s: %w", moduleName(file), err)
		}
	}
	return nil
}

// insert gives a module to the kernel. Another program may be faster.
func insert(tree fs.FS, file string) error {
	err := insertNew(tree, file)
	if err == unix.EEXIST {
		return nil
	}
	return err
}

func insertNew(tree fs.FS, file string) error {
	if compressed(file) {
		module, err := Read(tree, file)
		if err != nil {
			return err
		}
		return unix.InitModule(module, "")
	}
	f, err := tree.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.(*os.File).Fd()), "", 0)
}
