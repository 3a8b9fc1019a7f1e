package build_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file is what stat, readlink and getfattr say of one. Of directories the
// size counts for nothing.
type file struct {
	mode     fs.FileMode
	uid, gid uint32
	device   uint64
	mtime    unix.Timespec
	content  string // of a link, its target; of a regular file, its SHA-256
	xattrs   string
}

// A tree is all files below a directory, by their paths in it.
type tree map[string]file

func readTree(t testing.TB, dir string) tree {
	t.Helper()
	files := tree{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil {
			files[rel], err = readEntry(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readEntry(name string) (file, error) {
	var stat unix.Stat_t
	info, err := os.Lstat(name)
	if err := errors.Join(err, unix.Lstat(name, &stat)); err != nil {
		return file{}, err
	}
	f := file{mode: info.Mode(), uid: stat.Uid, gid: stat.Gid, device: stat.Rdev, mtime: stat.Mtim}
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(name)
		if err != nil {
			return file{}, err
		}
		f.content = fmt.Sprintf("%x", sha256.Sum256(data))
	case info.Mode().Type() == fs.ModeSymlink:
		if f.content, err = os.Readlink(name); err != nil {
			return file{}, err
		}
	}
	f.xattrs, err = readXattrs(name)
	return f, err
}

func readXattrs(name string) (string, error) {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(name, list)
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("llistxattr %s: %w", name, err)
	}
	var all []string
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return "", fmt.Errorf("lgetxattr %s %s: %w", name, key, err)
		}
		all = append(all, fmt.Sprintf("%s=%x", key, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, " "), nil
}

// changes lists what became of a tree, a line each, sorted:
//
//   - -rw-r--r-- 0:0 etc/exports     a new file, with mode and owner
//   - link etc/a -> b                a new link, of root
//   - etc/b                          a file that is gone
//     ~ etc/hosts                      other content, or time; all else is the same
//     ! etc/c: mode ...                anything else
//
// A directory may have a new time if a file in it was added or is gone.
func changes(before, after tree) []string {
	lines := map[string]string{}
	touched := map[string]bool{}
	for name, f := range after {
		if _, ok := before[name]; !ok {
			lines[name] = added(name, f)
			touched[path.Dir(name)] = true
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			lines[name] = "- " + name
			touched[path.Dir(name)] = true
		}
	}
	for name, was := range before {
		if is, ok := after[name]; ok && is != was {
			if touched[name] && is.mode.IsDir() {
				was.mtime = is.mtime
			}
			if line := changed(name, was, is); line != "" {
				lines[name] = line
			}
		}
	}
	return slices.Sorted(maps.Values(lines))
}

func added(name string, f file) string {
	if f.mode.Type() == fs.ModeSymlink && f.uid == 0 && f.gid == 0 {
		return fmt.Sprintf("+ link %s -> %s", name, f.content)
	}
	return strings.TrimRight(fmt.Sprintf("+ %v %d:%d %s %s", f.mode, f.uid, f.gid, name, f.xattrs), " ")
}

func changed(name string, was, is file) string {
	if is == was {
		return ""
	}
	edited := was
	edited.content, edited.mtime = is.content, is.mtime
	if is == edited && is.content != was.content {
		return "~ " + name
	}
	return fmt.Sprintf("! %s: %+v, was %+v", name, is, was)
}
