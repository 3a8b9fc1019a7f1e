package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/linux/kmod"
)

// A moduleIndex is what depmod(8) finds out about a kernel's modules.
type moduleIndex struct {
	modules fs.FS
	files   map[string]string // by name
	builtin map[string]bool   // by name

	needs   map[string][]string // by file: names of what must be there first
	before  map[string][]string // by name: names or aliases of what should be there first
	aliases map[string][]string // names
}

// moduleName is what the kernel calls the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// LoadOrder returns the files of modules in an order in which they can be loaded,
// each once and behind all that it needs. modules is /lib/modules/RELEASE.
func LoadOrder(modules fs.FS, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	x, err := readIndex(modules)
	if err != nil {
		return nil, err
	}
	return x.loadOrder(names)
}

func (x moduleIndex) loadOrder(names []string) ([]string, error) {
	o := order{index: x, seen: map[string]bool{}}
	for _, name := range names {
		name = moduleName(name)
		if _, ok := x.files[name]; !ok && !x.builtin[name] {
			return nil, fmt.Errorf("%s: %w", name, kmod.ErrNotFound)
		}
		if err := o.add(name); err != nil {
			return nil, err
		}
	}
	return o.files, nil
}

// An order of files, with the names of the modules that were added or are about to be,
// so that two modules that need each other do not make an endless loop.
type order struct {
	index moduleIndex
	files []string
	seen  map[string]bool
}

func (o *order) add(name string) error {
	name = moduleName(name)
	file, ok := o.index.files[name]
	if !ok || o.seen[name] {
		return nil
	}
	o.seen[name] = true
	needs, before, err := o.index.look(file)
	if err != nil {
		return err
	}
	for _, other := range before {
		for _, real := range append([]string{other}, o.index.aliases[other]...) {
			if err := o.add(real); err != nil {
				return err
			}
		}
	}
	for _, other := range needs {
		if err := o.add(other); err != nil {
			return err
		}
	}
	o.files = append(o.files, file)
	return nil
}

// readIndex reads the files that depmod wrote. For a package that was only unpacked,
// depmod has not run yet: then readIndex reads the modules themselves.
func readIndex(modules fs.FS) (moduleIndex, error) {
	x := moduleIndex{
		modules: modules, files: map[string]string{}, builtin: map[string]bool{},
		needs: map[string][]string{}, before: map[string][]string{}, aliases: map[string][]string{},
	}
	err := x.read("modules.builtin", func(w []string) { x.builtin[moduleName(w[0])] = true })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x, err
	}
	err = x.read("modules.dep", func(w []string) {
		file := strings.TrimSuffix(w[0], ":")
		slices.Reverse(w[1:]) // the last first
		x.files[moduleName(file)], x.needs[file] = file, w[1:]
	})
	if errors.Is(err, fs.ErrNotExist) {
		x.needs = nil
		return x, x.list()
	}
	if err != nil {
		return x, err
	}
	err = x.read("modules.softdep", func(w []string) { // softdep NAME pre: NAME... post: NAME...
		if len(w) > 2 && w[0] == "softdep" {
			x.before[w[1]] = append(x.before[w[1]], softBefore(w[2:])...)
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x, err
	}
	err = x.read("modules.alias", func(w []string) { // alias PATTERN NAME
		if len(w) == 3 {
			x.aliases[w[1]] = append(x.aliases[w[1]], w[2])
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return x, err
}

func (x moduleIndex) read(name string, take func(words []string)) error {
	text, err := fs.ReadFile(x.modules, name)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 0 {
			take(words)
		}
	}
	return nil
}

// list finds the files of all modules.
func (x moduleIndex) list() error {
	return fs.WalkDir(x.modules, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path.Base(name), ".ko") {
			x.files[moduleName(name)] = name
		}
		return err
	})
}

// look returns the modules that a module needs, and those that should be loaded before it.
func (x moduleIndex) look(file string) (needs, before []string, err error) {
	if x.needs != nil {
		return x.needs[file], x.before[moduleName(file)], nil
	}
	module, err := kmod.Read(x.modules, file)
	if err != nil {
		return nil, nil, err
	}
	info, err := moduleInfo(module)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(line), "=")
		switch key {
		case "depends":
			needs = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		case "softdep":
			before = append(before, softBefore(strings.Fields(value))...)
		}
	}
	// Of the modules for one algorithm the generic one serves everywhere.
	for _, name := range slices.Clone(before) {
		before = append(before, strings.TrimPrefix(name, "crypto-")+"_generic")
	}
	return needs, before, nil
}

// softBefore takes the names behind "pre:" out of a soft dependency.
func softBefore(words []string) []string {
	if len(words) == 0 || words[0] != "pre:" {
		return nil
	}
	names := words[1:]
	if i := slices.Index(names, "post:"); i >= 0 {
		names = names[:i]
	}
	return names
}

// moduleInfo returns a module's facts about itself: KEY=value, each ended by a zero.
func moduleInfo(module []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no section .modinfo")
	}
	return section.Data()
}
