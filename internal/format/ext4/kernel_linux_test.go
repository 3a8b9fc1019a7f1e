package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A record is all that is to be seen of a file. Names of one file share it.
type record struct {
	mode                fs.FileMode
	uid, gid            uint32
	links               int
	content             string // or target of a link
	xattrs              string
	device              uint64
	atime, mtime, ctime int64 // in nanoseconds
}

// A tree is the files of a file system by name.
type tree map[string]*record

// kernelTree is the tree that Linux sees in an image: every entry found by its name, as
// files are. A user who may not mount gets what debugfs sees of it.
func kernelTree(t fataler, image string) tree {
	t.Helper()
	if os.Getuid() != 0 {
		dir, err := os.MkdirTemp(scratch, "dump")
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer os.RemoveAll(dir)
		run(t, "debugfs", "-R", fmt.Sprintf("rdump / %s", dir), image)
		return hostTree(t, dir)
	}
	dir := mount(t, image, "ro")
	defer unmount(t, dir)
	return hostTree(t, dir)
}

// fullTree is the tree that Linux sees. A user who may not mount gets the view of this
// package to start from, since debugfs does not tell everything.
func fullTree(t fataler, image string) tree {
	t.Helper()
	if os.Getuid() != 0 {
		return ownTree(t, image)
	}
	return kernelTree(t, image)
}

// hostTree reads a tree through the kernel.
func hostTree(t fataler, dir string) tree {
	t.Helper()
	seen, byInode := tree{}, map[uint64]*record{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if r := byInode[st.Ino]; r != nil {
			seen[name] = r
			return nil
		}
		r := &record{mode: info.Mode(), uid: st.Uid, gid: st.Gid, links: int(st.Nlink),
			xattrs: hostXattrs(t, path), device: st.Rdev,
			atime: st.Atim.Nano(), mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}
		r.content, err = hostContent(path, info.Mode())
		seen[name], byInode[st.Ino] = r, r
		return err
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return seen
}

func hostContent(path string, mode fs.FileMode) (string, error) {
	switch mode.Type() {
	case 0:
		data, err := os.ReadFile(path)
		return string(data), err
	case fs.ModeSymlink:
		return os.Readlink(path)
	}
	return "", nil
}

// hostXattrs lists the extended attributes that the kernel tells of a file.
func hostXattrs(t fataler, path string) string {
	t.Helper()
	names, value := make([]byte, 65536), make([]byte, 65536)
	n, err := unix.Llistxattr(path, names)
	attrs := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if name == "" {
			continue
		}
		n, err = unix.Lgetxattr(path, name, value)
		attrs[name] = slices.Clone(value[:n])
	}
	return printXattrs(attrs)
}

func printXattrs(attrs map[string][]byte) string {
	if len(attrs) == 0 {
		return ""
	}
	return fmt.Sprint(attrs)
}

func ownXattrs(t fataler, e editor, name string) string {
	t.Helper()
	attrs, err := e.Xattrs(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return printXattrs(attrs)
}

// populateByKernel adds what only Linux makes: files in many pieces, with holes,
// preallocated, with extended attributes in and out of their inodes, and devices. A user
// who may not mount does without.
func populateByKernel(t fataler, image string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	dir := mount(t, image, "rw,noinit_itable")
	defer unmount(t, dir)
	stop := errors.New("file system is full")
	must := func(err error) {
		if errors.Is(err, unix.ENOSPC) {
			panic(stop)
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	defer func() {
		if r := recover(); r != nil && r != stop {
			panic(r)
		}
	}()
	sub := filepath.Join(dir, "kernel")
	must(os.Mkdir(sub, 0o755))
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, attrs := range map[string][]string{
		"acl":  {"system.posix_acl_access", acl},
		"cap":  {"security.capability", capability, "user.a", "b", "trusted.x", ""},
		"big1": {"user.big", strings.Repeat("B", 700), "security.capability", capability},
		"big2": {"user.big", strings.Repeat("B", 700), "security.capability", capability},
	} {
		must(os.WriteFile(filepath.Join(sub, name), []byte(name), 0o644))
		for ; len(attrs) > 0; attrs = attrs[2:] {
			must(unix.Setxattr(filepath.Join(sub, name), attrs[0], []byte(attrs[1]), 0))
		}
	}
	must(os.Mkdir(filepath.Join(sub, "acldir"), 0o755))
	must(unix.Setxattr(filepath.Join(sub, "acldir"), "system.posix_acl_default", []byte(acl), 0))
	must(unix.Mknod(filepath.Join(sub, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(filepath.Join(sub, "disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	must(unix.Mkfifo(filepath.Join(sub, "fifo"), 0o600))
	must(writePieces(filepath.Join(sub, "pieces"), 700))
	junk := filepath.Join(sub, "junk") // for what is preallocated to lie on
	must(os.WriteFile(junk, bytes.Repeat([]byte{0xff}, 3<<20), 0o644))
	unix.Sync()
	must(os.Remove(junk))
	must(preallocate(filepath.Join(sub, "preallocated")))
	for i := range 150 {
		must(os.WriteFile(filepath.Join(sub, fmt.Sprintf("%d-%s", i, strings.Repeat("k", 60))), nil, 0o644))
	}
}

// writePieces writes a file with a hole after each block.
func writePieces(name string, pieces int) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	for i := range pieces {
		if _, err := file.WriteAt([]byte{byte(i), byte(i >> 8), 1}, int64(i)*8192); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}

// preallocate makes a file with blocks that were never written, in its middle
// and behind its end.
func preallocate(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte("in the middle"), 150000)
	if err == nil {
		err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 400000)
	}
	if errors.Is(err, unix.EOPNOTSUPP) { // a file without extents
		err = nil
	}
	return errors.Join(err, file.Close())
}

// mount mounts an image, of which options say how, on a new directory.
func mount(t fataler, image, options string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "mount")
	if err != nil {
		t.Fatalf("%v", err)
	}
	run(t, "mount", "-o", "loop,"+options, image, dir)
	return dir
}

// unmount makes a file system read-only first, which ends its journal: a mount namespace
// that was made meanwhile, as by tests of other packages, keeps it mounted for longer.
func unmount(t fataler, dir string) {
	t.Helper()
	run(t, "mount", "-o", "remount,ro", dir)
	run(t, "umount", dir)
	os.Remove(dir)
}

// ownTree is the tree that this package sees.
func ownTree(t fataler, image string) tree {
	t.Helper()
	e := openImage(t, image)
	defer e.done(t)
	seen, byInode := tree{}, map[uint32]*record{}
	err := fs.WalkDir(e, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Lstat(name)
		if err != nil {
			return err
		}
		st := info.Sys().(*Stat)
		if r := byInode[st.Inode]; r != nil {
			seen[name] = r
			return nil
		}
		r := &record{mode: info.Mode(), uid: st.UID, gid: st.GID, links: int(st.Links),
			xattrs: ownXattrs(t, e, name), device: uint64(st.Device),
			atime: st.Atime.UnixNano(), mtime: st.Mtime.UnixNano(), ctime: st.Ctime.UnixNano()}
		seen[name], byInode[st.Inode] = r, r
		switch info.Mode().Type() {
		case 0:
			data, err := e.ReadFile(name)
			r.content = string(data)
			return err
		case fs.ModeSymlink:
			r.content, err = e.ReadLink(name)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return seen
}

// clone copies a tree with its hard links.
func (tr tree) clone() tree {
	copies, c := map[*record]*record{}, tree{}
	for name, r := range tr {
		if copies[r] == nil {
			dup := *r
			copies[r] = &dup
		}
		c[name] = copies[r]
	}
	return c
}

// firstNames are the first names of all files in the order of names.
func (tr tree) firstNames() map[*record]string {
	first := map[*record]string{}
	for _, name := range slices.Sorted(maps.Keys(tr)) {
		if _, ok := first[tr[name]]; !ok {
			first[tr[name]] = name
		}
	}
	return first
}

// equal compares what Linux, or this package, sees with what should be there.
func (want tree) equal(t fataler, who string, got tree, loose bool) {
	t.Helper()
	wantFirst, gotFirst := want.firstNames(), got.firstNames()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, g := want[name], got[name]
		if g == nil {
			t.Fatalf("%s: no %q", who, name)
		}
		a, b := *w, *g
		if loose { // debugfs rdump
			a = record{mode: w.mode.Type() | w.mode.Perm(), content: w.content}
			b = record{mode: g.mode.Type() | g.mode.Perm(), content: g.content}
		}
		if a != b {
			a.content, b.content = shorten(a.content), shorten(b.content)
			t.Fatalf("%s: %q is\n%+v, want\n%+v", who, name, b, a)
		}
		if !loose && wantFirst[w] != gotFirst[g] {
			t.Fatalf("%s: %q is the same file as %q, want %q", who, name, gotFirst[g], wantFirst[w])
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Fatalf("%s: there is a %q", who, name)
		}
	}
}

func shorten(s string) string { return fmt.Sprintf("%.20q (%d bytes)", s, len(s)) }

// judge has e2fsck, then Linux, then this package judge an image.
func judge(t fataler, image string, want tree) {
	t.Helper()
	fsck(t, image)
	want.equal(t, "Linux", kernelTree(t, image), os.Getuid() != 0)
	want.equal(t, "own reader", ownTree(t, image), false)
}

// TestOracle proves that the comparison of trees can fail.
func TestOracle(t *testing.T) {
	image := copyImage(t, layouts[0].template(t))
	e := openImage(t, image)
	seen := kernelTree(t, image)
	if err := e.Chmod("etc/empty", 0o640); err != nil {
		t.Fatal(err)
	}
	e.done(t)
	var caught catcher
	func() {
		defer func() { recover() }()
		seen.equal(&caught, "Linux", kernelTree(t, image), os.Getuid() != 0)
	}()
	if !caught.failed {
		t.Error("a changed mode was not noticed")
	}
}

type catcher struct{ failed bool }

func (c *catcher) Helper() {}

func (c *catcher) Fatalf(string, ...any) {
	c.failed = true
	panic("failed")
}
