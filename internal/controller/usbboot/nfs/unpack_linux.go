package nfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unpack makes the tree of a tar archive in each of several empty directories, which
// share the blocks of files where their file system can. Nothing is made outside
// of them, whatever names and links the archive has. On an error the directories
// hold a part of the tree.
func unpack(ctx context.Context, archive io.Reader, into []*os.Root) error {
	u := unpacker{into: into, parents: make([]*os.File, len(into)), buf: make([]byte, 1<<16)}
	defer u.closeParents()
	whole := &ending{from: archive}
	from := tar.NewReader(whole)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := from.Next()
		switch {
		case err == io.EOF && !whole.over:
			return u.finish()
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return errCutShort
		case err != nil:
			return fmt.Errorf("read the archive: %w", err)
		}
		err = u.entry(h, from)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errCutShort
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

var errCutShort = errors.New("the archive is cut short")

// An ending reader notes whether a program read on behind its end. The package tar takes
// the end of its input for the end of the archive, which really is a block of zeros.
type ending struct {
	from io.Reader
	over bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.from.Read(p)
	e.over = n == 0 && err == io.EOF
	return n, err
}

type unpacker struct {
	into []*os.Root

	parent      string     // of the last file, within each directory
	parents     []*os.File // the same, open
	directories []*tar.Header

	buf []byte // between the archive and a file
}

// A place is where a file is made: a name in an open directory.
type place struct {
	dir  int
	base string
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		h.Name = name
		u.directories = append(u.directories, h)
		if name == "." {
			return nil
		}
	}
	if err := u.openParents(path.Dir(name)); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		return u.files(h, path.Base(name), content)
	}
	for i := range u.into {
		p := place{int(u.parents[i].Fd()), path.Base(name)}
		if err := u.make(p, h, i); err != nil {
			return err
		}
	}
	return nil
}

// clean returns the name of a file below the tree's root, "." for the root.
func clean(name string) (string, error) {
	cleaned := path.Clean(name)
	if !fs.ValidPath(cleaned) {
		return "", errors.New("a name that leads out of the archive's tree")
	}
	return cleaned, nil
}

// openParents opens a directory in each of the trees. No link leads it out of them.
func (u *unpacker) openParents(name string) error {
	if name == u.parent && u.parents[0] != nil {
		return nil
	}
	u.closeParents()
	for i, root := range u.into {
		dir, err := root.Open(name)
		if err != nil {
			return err
		}
		u.parents[i] = dir
	}
	u.parent = name
	return nil
}

func (u *unpacker) closeParents() {
	for i, dir := range u.parents {
		if dir != nil {
			dir.Close()
		}
		u.parents[i] = nil
	}
}

// make makes a file that is not a regular one in tree number i.
func (u *unpacker) make(p place, h *tar.Header, i int) error {
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		return mkdir(p) // its mode and time are set last, since files made in it would change them
	case tar.TypeLink:
		return u.link(p, h.Linkname, i)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, p.dir, p.base)
	case tar.TypeFifo:
		err = unix.Mknodat(p.dir, p.base, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar:
		err = unix.Mknodat(p.dir, p.base, unix.S_IFCHR|0o600, device(h))
	case tar.TypeBlock:
		err = unix.Mknodat(p.dir, p.base, unix.S_IFBLK|0o600, device(h))
	default:
		return fmt.Errorf("an entry of type %q, which no file has", h.Typeflag)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(p.dir, p.base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(p.dir, p.base, uint32(h.Mode&0o7777), 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(p.dir, p.base, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

// mkdir makes a directory unless it is there: an archive may have it twice.
func mkdir(p place) error {
	err := unix.Mkdirat(p.dir, p.base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var s unix.Stat_t
	if err := unix.Fstatat(p.dir, p.base, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New("a directory where the archive has another file before it")
	}
	return nil
}

// link gives a file of tree number i one more name.
func (u *unpacker) link(p place, target string, i int) error {
	target, err := clean(target)
	if err != nil {
		return fmt.Errorf("link to %s: %w", target, err)
	}
	dir, err := u.into[i].Open(path.Dir(target))
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Linkat(int(dir.Fd()), path.Base(target), p.dir, p.base, 0)
}

func device(h *tar.Header) int { return int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))) }

// times are those of last access and last change.
func times(h *tar.Header) []unix.Timespec {
	return []unix.Timespec{unix.NsecToTimespec(h.ModTime.UnixNano()), unix.NsecToTimespec(h.ModTime.UnixNano())}
}

// files makes a regular file in each tree: in the first from the archive, in the
// others with the first one's content.
func (u *unpacker) files(h *tar.Header, base string, content io.Reader) error {
	var first *os.File
	for i, parent := range u.parents {
		fd, err := unix.Openat(int(parent.Fd()), base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), base)
		defer file.Close()
		if i == 0 {
			first, err = file, u.fill(file, h, content)
		} else {
			err = share(file, first, h.Size)
		}
		if err == nil {
			err = describe(file, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill writes a file's content, with holes where the archive has them.
func (u *unpacker) fill(file *os.File, h *tar.Header, content io.Reader) error {
	if _, sparse := h.PAXRecords["GNU.sparse.realsize"]; !sparse {
		// A file that is copied to as such takes a new buffer.
		_, err := io.CopyBuffer(struct{ io.Writer }{file}, content, u.buf)
		return err
	}
	zeros := make([]byte, len(u.buf))
	for offset := int64(0); ; {
		n, err := io.ReadFull(content, u.buf)
		if n > 0 && !bytes.Equal(u.buf[:n], zeros[:n]) {
			if _, err := file.WriteAt(u.buf[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return file.Truncate(h.Size)
		}
		if err != nil {
			return err
		}
	}
}

// share gives a file another's content: the same blocks, or else a copy.
func share(file, first *os.File, size int64) error {
	if size == 0 || unix.IoctlFileClone(int(file.Fd()), int(first.Fd())) == nil {
		return nil
	}
	if _, err := first.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(file, first) // within the kernel
	return err
}

// xattr starts the records of extended attributes.
const xattr = "SCHILY.xattr."

// describe gives a file or directory its owner, mode, attributes and times. The mode comes
// after the owner, and capabilities after both, since a change of the owner clears setuid
// and capabilities.
func describe(file *os.File, h *tar.Header) error {
	fd := int(file.Fd())
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattr)
		if !ok {
			continue
		}
		if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times(h), 0)
}

// finish describes the directories, the innermost first.
func (u *unpacker) finish() error {
	for _, h := range slices.Backward(u.directories) {
		for _, root := range u.into {
			dir, err := root.Open(h.Name)
			if err != nil {
				return err
			}
			err = describe(dir, h)
			dir.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
	}
	return nil
}
