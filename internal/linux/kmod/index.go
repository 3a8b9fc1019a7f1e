// Package kmod loads kernel modules, and all that they depend on, without
// starting modprobe.
//
// It reads what depmod wrote beside the modules: modules.dep says which file a
// module is in and what has to be loaded before it, modules.builtin which
// drivers are part of the kernel. The package ignores aliases, options and blacklists:
// callers ask for modules by their real names.
package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrNotFound is wrapped by the error about a module that the kernel does not
// come with.
var ErrNotFound = errors.New("no such kernel module")

// An index tells the files of modules and the order in which to load them.
type index struct {
	lines   map[string]line // by name of module
	builtin map[string]bool
}

// A line of modules.dep: a module's file, and the files of all modules it depends on.
type line struct {
	file string
	deps []string
}

// readIndex reads the index of a kernel's modules in dir. A kernel that has
// everything built in may come without either file.
func readIndex(dir fs.FS) (index, error) {
	x := index{lines: map[string]line{}, builtin: map[string]bool{}}
	dep, err := readFile(dir, "modules.dep")
	if err != nil {
		return index{}, err
	}
	for text := range strings.Lines(dep) {
		file, deps, ok := strings.Cut(text, ":")
		if ok {
			x.lines[moduleName(file)] = line{file, strings.Fields(deps)}
		}
	}
	builtin, err := readFile(dir, "modules.builtin")
	if err != nil {
		return index{}, err
	}
	for file := range strings.FieldsSeq(builtin) {
		x.builtin[moduleName(file)] = true
	}
	return x, nil
}

// readFile reads a file, which is empty if there is none.
func readFile(dir fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(dir, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return string(text), nil
}

// moduleName is what the kernel calls the module in a file. Users may write
// dashes for the underscores in it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// order returns the files to load for a module, in their order: none if it is
// built in.
func (x index) order(module string) ([]string, error) {
	name := moduleName(module)
	if _, ok := x.lines[name]; !ok {
		if x.builtin[name] {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", module, ErrNotFound)
	}
	return x.visit(name, map[string]bool{}, nil), nil
}

// visit appends the files of a module's dependencies, then its own. A module
// is visited once, so that no loop in a damaged index is followed.
func (x index) visit(name string, visited map[string]bool, files []string) []string {
	l, ok := x.lines[name]
	if !ok || visited[name] {
		return files
	}
	visited[name] = true
	for _, dep := range l.deps {
		files = x.visit(moduleName(dep), visited, files)
	}
	return append(files, l.file)
}
