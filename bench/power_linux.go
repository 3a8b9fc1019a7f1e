package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"clusterctrl/internal/node"
)

// measurePower compares asking boards how they are, and switching a node on, with a
// script that does the same transactions by python3-smbus, in a virtual machine
// whose boards are played.
func (b bench) measurePower(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "clusterctrl-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files, err := programs(ctx, "time")
	if err != nil {
		return err
	}
	if err := addPython(ctx, files, dir); err != nil {
		return err
	}
	files["power.py"] = "bench/power.py"
	if files[strings.TrimPrefix(node.Program, "/")], err = build(ctx, "./cmd/clusterctrl", dir, "amd64"); err != nil {
		return err
	}
	modules := []string{"vhci-hcd", "i2c-tiny-usb", "i2c-dev"}
	lines, err := machine{model: "amd64", part: "power", rounds: 5 * b.rounds, modules: modules, files: files, countsInstructions: true}.run(ctx)
	if err != nil {
		return err
	}
	for _, c := range []struct{ title, name, words string }{
		{"boards and nodes asked how they are", "-status", "status"},
		{"a node switched on", "-on", "on p1"},
	} {
		ours, theirs := "clusterctrl "+c.words, "power.py "+c.words+", by python3-smbus"
		costs, err := times(lines, map[string]string{"ours" + c.name: ours, "theirs" + c.name: theirs})
		if err != nil {
			return err
		}
		err = contest{c.title + ", in a virtual machine", []entry{{name: ours}, {name: theirs}},
			[]goal{faster(ours, theirs, 5), lighter(ours, theirs, 3)}}.printTimes(costs)
		if err != nil {
			return err
		}
	}
	return nil
}

// listModules prints the files of the modules that a script of smbus loads, and
// compiles those in Python to bytecode that does not depend on files' times.
const listModules = `import glob, re, sys, os, io, smbus, encodings.utf_8, encodings.ascii, py_compile
for module in list(sys.modules.values()):
    name = getattr(module, "__file__", None)
    if name is None or not os.path.exists(name):
        continue
    print(name, name)
    if name.endswith(".py"):
        code = os.path.join(sys.argv[1], name.strip("/").replace("/", "-") + "c")
        py_compile.compile(name, code, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        tag = sys.implementation.cache_tag
        print(os.path.join(os.path.dirname(name), "__pycache__", os.path.basename(name)[:-3] + "." + tag + ".pyc"), code)
`

// addPython adds Debian's Python to the files of a machine, with what a script of
// smbus loads.
func addPython(ctx context.Context, files map[string]string, dir string) error {
	const python = "/usr/bin/python3"
	out, err := exec.CommandContext(ctx, python, "-c", listModules, dir).Output()
	if err != nil {
		return fmt.Errorf("%s with smbus: %w (apt-get install python3-smbus)", python, err)
	}
	needed := []string{}
	for line := range strings.Lines(string(out)) {
		name, source, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[strings.TrimPrefix(name, "/")] = source
		if strings.HasSuffix(name, ".so") {
			needed = append(needed, name)
		}
	}
	program, err := filepath.EvalSymlinks(python)
	if err != nil {
		return err
	}
	files["usr/bin/python3"] = program
	return addLibraries(ctx, files, append(needed, program)...)
}
