package power

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// LinkBoot makes the links by which nodes get their boot files over USB. In dir, a link
// with the name of a node's USB path leads to the node's disk in disks or, where the node
// has none, to the boot directory of its root in roots. Links of other USB paths are
// removed, wherever they lead. Links within a root are not followed, since the node can
// write there.
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

// bootDir returns the directory of a root that has the boot files, which depends on the
// release. It is empty if there are none.
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
