// Package archive writes the tree in a disk image as a tar archive, from which
// another computer makes the tree again: owners by number, modes, times, hard
// links, devices, holes, extended attributes and access control lists.
//
// The format is that of POSIX.1-2001 (pax), with the records that GNU tar and
// libarchive use for what POSIX has no word for: SCHILY.xattr.*, SCHILY.acl.* and
// GNU.sparse.*. The same tree gives the same bytes.
package archive

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/tree/rootfs"
)

// Write writes the tree, boot partition included, in the order of names. It reads
// the image as it is with all edits that were applied to it, written back or not.
func Write(w io.Writer, image *rootfs.Image) error {
	a := &writer{image: image, out: w, tar: tar.NewWriter(w), links: map[uint32]string{}}
	if err := a.entry("."); err != nil {
		return err
	}
	if err := a.directory("."); err != nil {
		return err
	}
	return a.tar.Close()
}

type writer struct {
	image *rootfs.Image
	out   io.Writer // below tar, for what tar cannot write
	tar   *tar.Writer
	links map[uint32]string // first name of each inode that has several
}

// leftOut are directories that belong to a file system, not to the tree in it.
var leftOut = map[string]bool{"lost+found": true}

func (a *writer) directory(dir string) error {
	files, rest := a.on(dir)
	entries, err := fs.ReadDir(files, rest)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if leftOut[name] {
			continue
		}
		if err := a.entry(name); err != nil {
			return err
		}
		if e.IsDir() {
			if err := a.directory(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry writes one file, without what is in it if it is a directory.
func (a *writer) entry(name string) error {
	info, err := a.lstat(name)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // a program makes it when it starts
	}
	h, err := a.header(name, info)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag == tar.TypeReg {
		err = a.file(name, h, info)
	} else {
		err = a.tar.WriteHeader(h)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// lstat describes the directory that the boot partition is mounted at as the root
// has it: a FAT's root has neither owner nor time.
func (a *writer) lstat(name string) (fs.FileInfo, error) {
	if name == a.image.BootDir() {
		return a.image.Root.Lstat(name)
	}
	files, rest := a.on(name)
	return files.Lstat(rest)
}

// on returns the partition that holds a file, and the file's name there. No name of a
// tree that is walked leads through a link, which the image would look for at each.
func (a *writer) on(name string) (partition, string) {
	if name == a.image.BootDir() {
		return a.image.Boot, "."
	}
	if rest, ok := strings.CutPrefix(name, a.image.BootDir()+"/"); ok {
		return a.image.Boot, rest
	}
	return a.image.Root, name
}

// A partition is what the image's two have in common.
type partition interface {
	fs.FS
	Lstat(name string) (fs.FileInfo, error)
}

// bits are the bits of a mode as tar has them.
func bits(mode fs.FileMode) int64 {
	b := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			b |= bit
		}
	}
	return b
}

// header describes a file. What is in a FAT belongs to root.
func (a *writer) header(name string, info fs.FileInfo) (*tar.Header, error) {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: bits(info.Mode()),
		ModTime: info.ModTime().Truncate(time.Nanosecond), PAXRecords: map[string]string{},
	}
	stat, ok := info.Sys().(*ext4.Stat)
	if ok {
		h.Uid, h.Gid = int(stat.UID), int(stat.GID)
		if err := a.attributes(h); err != nil {
			return nil, err
		}
		if !info.IsDir() && stat.Links > 1 {
			if first, seen := a.links[stat.Inode]; seen {
				h.Typeflag, h.Linkname = tar.TypeLink, first
				h.PAXRecords = nil // the first name has them
				return h, nil
			}
			a.links[stat.Inode] = name
		}
	}
	switch info.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		target, err := a.image.Root.ReadLink(name)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeDevice:
		h.Typeflag = tar.TypeBlock
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
	default:
		return nil, fmt.Errorf("a file of a kind that no archive holds (%v)", info.Mode().Type())
	}
	if ok && h.Typeflag != tar.TypeReg {
		h.Devmajor, h.Devminor = deviceNumbers(stat.Device)
	}
	return h, nil
}

// deviceNumbers takes a device number of Linux apart (linux/kdev_t.h,
// new_decode_dev).
func deviceNumbers(device uint32) (major, minor int64) {
	return int64(device >> 8 & 0xfff), int64(device&0xff | device>>12&0xfff00)
}

// attributes adds a file's extended attributes, and its access control lists once
// more in the words in which tar restores them.
func (a *writer) attributes(h *tar.Header) error {
	attrs, err := a.image.Root.Xattrs(h.Name)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		h.PAXRecords["SCHILY.xattr."+name] = string(value)
		if record, ok := aclRecords[name]; ok {
			if h.PAXRecords[record], err = aclText(value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// file writes a regular file, as a sparse one if it has holes, which files of a FAT
// never have.
func (a *writer) file(name string, h *tar.Header, info fs.FileInfo) error {
	files, rest := a.on(name)
	f, err := files.Open(rest)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, inRoot := info.Sys().(*ext4.Stat); inRoot {
		extents, err := a.image.Root.DataExtents(name)
		if err != nil {
			return err
		}
		if isSparse(extents, h.Size) {
			return a.sparse(h, f.(io.ReaderAt), extents)
		}
	}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(a.tar, f)
	return err
}
