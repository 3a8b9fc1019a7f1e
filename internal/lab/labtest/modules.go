package labtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A moduleIndex is what depmod(8) knows of a kernel's modules.
type moduleIndex struct {
	needs   map[string][]string // by file: what must be there first, the last first
	files   map[string]string   // by name
	builtin map[string]bool     // by name
	before  map[string][]string // by name: names or aliases of what should be there first
	aliases map[string][]string // names
}

// moduleName is what the kernel calls the module in a file.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

func (k Kernel) index() (moduleIndex, error) {
	x := moduleIndex{map[string][]string{}, map[string]string{}, map[string]bool{}, map[string][]string{}, map[string][]string{}}
	for name, take := range map[string]func(words []string){
		"modules.dep": func(w []string) {
			file := strings.TrimSuffix(w[0], ":")
			x.files[moduleName(file)], x.needs[file] = file, w[1:]
		},
		"modules.builtin": func(w []string) { x.builtin[moduleName(w[0])] = true },
		"modules.softdep": func(w []string) { // softdep NAME pre: NAME... post: NAME...
			names := w[min(3, len(w)):]
			if i := slices.Index(names, "post:"); i >= 0 {
				names = names[:i]
			}
			if len(w) > 3 && w[0] == "softdep" && w[2] == "pre:" {
				x.before[w[1]] = append(x.before[w[1]], names...)
			}
		},
		"modules.alias": func(w []string) { // alias PATTERN NAME
			if len(w) == 3 {
				x.aliases[w[1]] = append(x.aliases[w[1]], w[2])
			}
		},
	} {
		text, err := os.ReadFile(filepath.Join(k.modules, name))
		if err != nil {
			return moduleIndex{}, err
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 0 {
				take(words)
			}
		}
	}
	return x, nil
}

// loadOrder returns the files of modules in an order in which they can be
// loaded, each once and behind all that it needs.
func (k Kernel) loadOrder(names []string) ([]string, error) {
	x, err := k.index()
	if err != nil {
		return nil, err
	}
	var order []string
	for _, name := range names {
		name = moduleName(name)
		if _, ok := x.files[name]; !ok && !x.builtin[name] {
			return nil, fmt.Errorf("kernel %s has no module %s", filepath.Base(k.modules), name)
		}
		order = x.load(order, name)
	}
	return order, nil
}

func (x moduleIndex) load(order []string, name string) []string {
	file, ok := x.files[name]
	if !ok || slices.Contains(order, file) {
		return order
	}
	for _, other := range x.before[name] {
		for _, real := range append([]string{other}, x.aliases[other]...) {
			order = x.load(order, moduleName(real))
		}
	}
	for _, other := range slices.Backward(x.needs[file]) {
		order = x.load(order, moduleName(other))
	}
	return append(order, file)
}
