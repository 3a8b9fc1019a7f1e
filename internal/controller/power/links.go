package power

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// LinkBoot has each node find its boot files over USB: in dir, a link with the name of the
// node's USB path leads to its disk in disks or, without one, to the boot directory of its
// root in roots. Links of other USB paths are removed, wherever they lead to. Links within a root are
// not followed, since a node can write its root.
func (bs Boards) LinkBoot(dir, roots, disks string) error {
	wanted := map[string]string{}
	var errs []error
	for _, id := range bs.IDs() {
		usbPath, err := bs.Path(id)
		errs = append(errs, err)
		boot := bootDir(path.Join(roots, id.String()))
		disk := path.Join(disks, id.String())
		if info, err := os.Lstat(disk); err == nil && info.Mode().IsRegular() {
			boot = disk
		}
		if usbPath != "" && boot != "" {
			wanted[usbPath] = boot
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	errs = append(errs, err)
	for _, e := range entries {
		if e.Type() != fs.ModeSymlink || !usbDevice.MatchString(e.Name()) {
			continue
		}
		if target, err := root.Readlink(e.Name()); err == nil && target == wanted[e.Name()] {
			delete(wanted, e.Name())
			continue
		}
		errs = append(errs, root.Remove(e.Name()))
	}
	for name, target := range wanted {
		errs = append(errs, root.Symlink(target, name))
	}
	return errors.Join(errs...)
}

// bootDir returns where a root has its boot files: where its release has them,
// empty if there are none.
func bootDir(root string) string {
	for _, boot := range []string{"boot/firmware", "boot"} {
		isDir := true
		for dir := path.Join(root, boot); dir != path.Dir(root); dir = path.Dir(dir) {
			info, err := os.Lstat(dir)
			isDir = isDir && err == nil && info.IsDir()
		}
		if isDir {
			return path.Join(root, boot)
		}
	}
	return ""
}
