package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a name may lead through, as in the
// kernel (path_resolution(7)).
const maxLinks = 40

// A linkReader is what resolve needs to know of a tree. Its methods are given
// names that lead through no symbolic link.
type linkReader interface {
	Lstat(name string) (fs.FileInfo, error)
	ReadLink(name string) (string, error)
}

// resolve returns the name that name leads to, free of symbolic links in all
// but, unless follow is set, its last element. What does not exist resolves to
// itself, so that it can be created.
func resolve(t linkReader, op, name string, follow bool) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at, rest, links := ".", name, 0
	for rest != "" && rest != "." {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		if elem == "" || elem == "." {
			continue
		}
		if elem == ".." {
			at = path.Dir(at)
			continue
		}
		next := elem
		if at != "." {
			next = at + "/" + elem
		}
		last := strings.Trim(rest, "/.") == ""
		if last && !follow {
			at = next
			continue
		}
		info, err := t.Lstat(next)
		if err != nil && !(last && errors.Is(err, fs.ErrNotExist)) {
			return "", err
		}
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			if !last && !info.IsDir() {
				return "", &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: op, Path: name, Err: syscall.ELOOP}
		}
		target, err := t.ReadLink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = strings.TrimLeft(target, "/") + "/" + rest
	}
	return at, nil
}

// Resolve returns the name that name leads to in a tree, free of symbolic links.
// Two names that lead to one file resolve to the same.
func Resolve(tree Tree, name string) (string, error) { return resolve(tree, "resolve", name, true) }

// BootDir returns the name of the directory that the boot partition of a tree
// is mounted at: boot/firmware from Bookworm on, boot before. fstab(5) says so;
// in the root of a Pi that boots over USB, where it does not, the files there.
func BootDir(tree fs.FS) (string, error) {
	text, err := ReadText(tree, FSTab)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if dir, _, ok := BootEntry(string(text)); ok {
		return dir, nil
	}
	for _, dir := range []string{"boot/firmware", "boot"} {
		if _, err := fs.Stat(tree, path.Join(dir, CommandLine)); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s mounts nothing at /boot or /boot/firmware: want a Raspberry Pi OS image", FSTab)
}

// FSTab is where a tree says what is mounted where, in the format of fstab(5).
const FSTab = "etc/fstab"

// CommandLine is the file of the boot partition with the kernel command line.
const CommandLine = "cmdline.txt"

// BootEntry returns where the text of an fstab(5) mounts the boot partition, and
// what it calls its device.
func BootEntry(text string) (dir, source string, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !slices.Contains(fatTypes, fields[2]) {
			continue
		}
		if dir := strings.TrimPrefix(path.Clean(fields[1]), "/"); dir == "boot" || dir == "boot/firmware" {
			return dir, fields[0], true
		}
	}
	return "", "", false
}

// fatTypes are what an fstab may call the type of a FAT file system.
var fatTypes = []string{"vfat", "msdos", "auto"}
