package provision

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// An output is a file that becomes the image of a role.
type output struct {
	*diskimage.Output
	role  node.Role
	patch diskimage.Patch // makes the controller's image that of the role
}

// A target is what an output is to be, under a name: the image of a role, or the archive
// for nodes without cards, which is the last.
type target struct {
	name    string
	role    node.Role
	archive bool
}

// what is the role, or what the archive has for one.
func (t target) what() string {
	if t.archive {
		return node.USBBootType
	}
	return t.role.String()
}

// targets returns what the outputs of roles are to be.
func targets(prefix string, roles []node.Role, ext string) []target {
	var all []target
	for _, role := range roles {
		all = append(all, target{name: prefix + suffix(role) + ext, role: role})
	}
	return all
}

// fileNames returns the base names of targets.
func fileNames(all []target) []string {
	var names []string
	for _, t := range all {
		names = append(names, t.name)
	}
	return names
}

// outputs returns files, each with its role and the patch that makes it the role's
// image. A target that exists and is kept has no file.
func (l commandLine) outputs(files []*diskimage.Output, all []target) ([]output, error) {
	var outputs []output
	for _, f := range files {
		at := slices.IndexFunc(all, func(t target) bool { return t.name == f.Final })
		role := all[at].role
		patch, err := l.patch(role)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, output{f, role, patch})
	}
	return outputs, nil
}

// suffix is the end of an image's name that tells people its role.
func suffix(role node.Role) string {
	if role.IsController() {
		return strings.ToUpper(role.String()) + ".img"
	}
	return role.String() + ".img"
}

// spareBase refuses an output that would take the base's place.
func spareBase(base, dir string, set *diskimage.Outputs) error {
	info, err := os.Stat(base)
	if err != nil {
		return nil // it has no name: nothing can take its place
	}
	for _, f := range set.Files {
		path := filepath.Join(dir, f.Final)
		if there, err := os.Lstat(path); err == nil && os.SameFile(info, there) {
			return fmt.Errorf("%s is the base and is not replaced: want another directory for the outputs", path)
		}
	}
	return nil
}

// together is the first of files for reading, and all of them for writing.
func together(files []*diskimage.Output) rootfs.Device { return device(files) }

type device []*diskimage.Output

func (d device) ReadAt(p []byte, off int64) (int, error) { return d[0].ReadAt(p, off) }

func (d device) WriteAt(p []byte, off int64) (int, error) {
	for _, f := range d {
		if n, err := f.WriteAt(p, off); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
