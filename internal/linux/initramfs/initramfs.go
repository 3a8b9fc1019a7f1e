// Package initramfs makes the archive that a kernel unpacks and starts before all else
// (Documentation/driver-api/early-userspace/buffer-format.rst): a program as /init, and
// the modules that it needs before there is a disk to load modules from. The program
// calls [Start] first.
package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"clusterctrl/internal/linux/kmod"
	"github.com/u-root/u-root/pkg/cpio"
)

// An Archive is the content of an initramfs.
type Archive struct {
	Init    []byte            // the program that becomes /init
	Modules []string          // names of modules that Start loads, behind all that they need
	AlsoIf  []string          // those that Start loads too where the kernel has them, before the others
	Files   map[string][]byte // further files; all are executable

	// Dir is the directory that all the above is in, empty for the root. An archive
	// with a Dir can stand before another's bytes, for a kernel that unpacks both. Its
	// program starts with that directory as its root, and calls [Enter].
	Dir string
}

// Write writes the archive with modules of a kernel, those in /lib/modules/RELEASE.
func (a Archive) Write(w io.Writer, modules fs.FS) error {
	records := []cpio.Record{cpio.StaticFile("init", string(a.Init), 0o755)}
	for _, dir := range []string{"dev", "proc", "sys", "mnt"} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	records = append(records, cpio.CharDev("dev/console", 0o600, 5, 1)) // what /init writes to
	for _, name := range slices.Sorted(maps.Keys(a.Files)) {
		records = append(records, cpio.StaticFile(name, string(a.Files[name]), 0o755))
	}
	loaded, err := a.modules(modules)
	if err != nil {
		return err
	}
	records = append(records, loaded...)
	for i := range records {
		records[i].Name = path.Join(a.Dir, records[i].Name)
	}
	return write(w, records)
}

func write(w io.Writer, records []cpio.Record) error {
	archive := cpio.Newc.Writer(w)
	if err := cpio.WriteRecordsAndDirs(archive, records); err != nil {
		return err
	}
	return cpio.WriteTrailer(archive)
}

// modules are the files of the modules that Start loads.
func (a Archive) modules(modules fs.FS) (records []cpio.Record, err error) {
	files, err := a.loadOrder(modules)
	for i, file := range files {
		module, err := kmod.Read(modules, file)
		if err != nil {
			return nil, err
		}
		records = append(records, cpio.StaticFile(fmt.Sprintf("%s/%03d-%s", moduleDir, i, moduleName(file)), string(module), 0o644))
	}
	return records, err
}

func (a Archive) loadOrder(modules fs.FS) ([]string, error) {
	if len(a.Modules) == 0 && len(a.AlsoIf) == 0 {
		return nil, nil
	}
	x, err := readIndex(modules)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range a.AlsoIf {
		if _, ok := x.files[moduleName(name)]; ok {
			names = append(names, name)
		}
	}
	return x.loadOrder(append(names, a.Modules...))
}

// moduleDir has the modules, under names that sort in the order of loading.
const moduleDir = "modules"
