package ext4

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"time"
)

// Stat is the type that [fs.FileInfo.Sys] of a file points to.
type Stat struct {
	Inode, Links        uint32
	UID, GID            uint32
	Device              uint32 // of a device node, as Linux numbers them
	Atime, Ctime, Mtime time.Time
}

// A fileInfo is an [fs.FileInfo] and an [fs.DirEntry].
type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
	stat Stat
}

func (i *fileInfo) Name() string               { return i.name }
func (i *fileInfo) Size() int64                { return i.size }
func (i *fileInfo) Mode() fs.FileMode          { return i.mode }
func (i *fileInfo) ModTime() time.Time         { return i.stat.Mtime }
func (i *fileInfo) IsDir() bool                { return i.mode.IsDir() }
func (i *fileInfo) Sys() any                   { return &i.stat }
func (i *fileInfo) Type() fs.FileMode          { return i.mode.Type() }
func (i *fileInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i *fileInfo) String() string             { return fs.FormatFileInfo(i) }

func (ino *inode) info(name string) *fileInfo {
	return &fileInfo{path.Base(name), ino.mode(), ino.size(), Stat{
		Inode: uint32(ino.number), Links: uint32(ino.Links),
		UID: ino.uid(), GID: ino.gid(), Device: ino.device(),
		Atime: ino.atime(), Ctime: ino.ctime(), Mtime: ino.mtime(),
	}}
}

// Lstat describes a file, a symbolic link included.
func (f *FS) Lstat(name string) (info fs.FileInfo, err error) {
	err = f.look("lstat", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			info = ino.info(name)
		}
		return err
	})
	return info, err
}

// ReadLink returns the target of a symbolic link.
func (f *FS) ReadLink(name string) (target string, err error) {
	err = f.look("readlink", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			target, err = f.target(ino)
		}
		return err
	})
	return target, err
}

func (f *FS) target(ino *inode) (string, error) {
	if !ino.is(typeLink) {
		return "", fmt.Errorf("not a symbolic link: %w", fs.ErrInvalid)
	}
	size := ino.size()
	if !f.hasMapping(ino) {
		if size >= int64(len(ino.Block)) {
			return "", fmt.Errorf("inode %d: %w: link target of %d bytes in the inode", ino.number, ErrCorrupt, size)
		}
		return string(ino.Block[:size]), nil
	}
	if size > int64(f.blockSize) {
		return "", fmt.Errorf("inode %d: %w: link target of %d bytes", ino.number, ErrCorrupt, size)
	}
	target := make([]byte, size)
	m, err := f.mapping(ino)
	if err == nil {
		err = f.readMapped(&m, target, 0)
	}
	return string(target), err
}

// readMapped reads the content of a file. What is not mapped is zeros.
func (f *FS) readMapped(m *mapping, p []byte, off int64) error {
	size := int64(f.blockSize)
	for i := m.after(uint64(off / size)); len(p) > 0; i++ {
		if i == len(m.extents) {
			clear(p)
			return nil
		}
		e := m.extents[i]
		if first := int64(e.logical) * size; off < first {
			hole := min(first-off, int64(len(p)))
			clear(p[:hole])
			p, off = p[hole:], off+hole
		}
		within := off - int64(e.logical)*size
		n := max(0, min(int64(len(p)), int64(e.physical.count)*size-within))
		if e.unwritten {
			clear(p[:n])
		} else if n > 0 {
			if err := f.readAt(p[:n], int64(e.physical.first)*size+within); err != nil {
				return err
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}

// DataExtents returns the parts of a regular file that hold data, in order. The parts
// between them, and behind them up to the file's size, are zeros that take no blocks.
func (f *FS) DataExtents(name string) (extents []Extent, err error) {
	err = f.look("extents", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			extents, err = f.dataExtents(ino)
		}
		return err
	})
	return extents, err
}

func (f *FS) dataExtents(ino *inode) (extents []Extent, err error) {
	if err := regular(ino); err != nil {
		return nil, err
	}
	m, err := f.mapping(ino)
	if err != nil {
		return nil, err
	}
	blockSize := int64(f.blockSize)
	for _, e := range m.extents {
		start := int64(e.logical) * blockSize
		end := min(start+int64(e.physical.count)*blockSize, ino.size())
		if e.unwritten || end <= start { // blocks may lie behind the file's end
			continue
		}
		if n := len(extents); n > 0 && extents[n-1].Offset+extents[n-1].Length == start {
			extents[n-1].Length += end - start
			continue
		}
		extents = append(extents, Extent{start, end - start})
	}
	return extents, nil
}

// ReadFile returns the content of a regular file.
func (f *FS) ReadFile(name string) (data []byte, err error) {
	err = f.look("read", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			data, err = f.content(ino)
		}
		return err
	})
	return data, err
}

func (f *FS) content(ino *inode) ([]byte, error) {
	if err := regular(ino); err != nil {
		return nil, err
	}
	if ino.size() > int64(f.blocks)*int64(f.blockSize) { // mostly a hole
		return nil, fmt.Errorf("%d bytes: %w", ino.size(), syscall.EFBIG)
	}
	m, err := f.mapping(ino)
	if err != nil {
		return nil, err
	}
	data := make([]byte, ino.size())
	return data, f.readMapped(&m, data, 0)
}

// regular says why ino has no content to read or write.
func regular(ino *inode) error {
	switch {
	case ino.is(typeRegular):
		return nil
	case ino.is(typeDir):
		return syscall.EISDIR
	case ino.is(typeLink):
		return errLink
	}
	return fmt.Errorf("%v is not a regular file: %w", ino.mode(), fs.ErrInvalid)
}

// Open opens a regular file, which is then also an [io.ReaderAt] and an
// [io.Seeker], or a directory, which is an [fs.ReadDirFile].
func (f *FS) Open(name string) (file fs.File, err error) {
	err = f.look("open", name, func() error {
		ino, err := f.walk(name)
		if err != nil {
			return err
		}
		h := handle{f: f, name: name, ino: ino}
		if ino.is(typeDir) {
			file = &openDirectory{handle: h}
			return nil
		}
		if err := regular(ino); err != nil {
			return err
		}
		file = &openFile{handle: h, version: f.version - 1}
		return nil
	})
	return file, err
}

// A handle is the part that open files and open directories have in common.
type handle struct {
	f      *FS
	name   string
	ino    *inode
	closed bool
}

func (h *handle) Stat() (fs.FileInfo, error) {
	if h.closed {
		return nil, h.fail("stat", fs.ErrClosed)
	}
	return h.ino.info(h.name), nil
}

func (h *handle) Close() error {
	if h.closed {
		return h.fail("close", fs.ErrClosed)
	}
	h.closed = true
	return nil
}

func (h *handle) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

type openFile struct {
	handle
	mapping mapping
	version int // of the FS when mapping was read
	off     int64
}

// refresh reads the mapping, anew if the file system has changed.
func (o *openFile) refresh() (err error) {
	if o.closed || o.f.closed {
		return fs.ErrClosed
	}
	if o.version == o.f.version {
		return nil
	}
	o.f.cache.trim()
	if o.ino, err = o.f.inode(o.ino.number); err == nil {
		o.mapping, err = o.f.mapping(o.ino)
	}
	o.version = o.f.version
	return err
}

func (o *openFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.refresh(); err != nil {
		return 0, o.fail("read", err)
	}
	if off < 0 {
		return 0, o.fail("read", fs.ErrInvalid)
	}
	n := int(max(0, min(int64(len(p)), o.ino.size()-off)))
	if err := o.f.readMapped(&o.mapping, p[:n], off); err != nil {
		return 0, o.fail("read", err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *openFile) Read(p []byte) (int, error) {
	n, err := o.ReadAt(p, o.off)
	o.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (o *openFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.off
	case io.SeekEnd:
		offset += o.ino.size()
	}
	if offset < 0 {
		return 0, o.fail("seek", fs.ErrInvalid)
	}
	o.off = offset
	return offset, nil
}

type openDirectory struct {
	handle
	rest []fs.DirEntry
	read bool
}

func (o *openDirectory) Read([]byte) (int, error) { return 0, o.fail("read", syscall.EISDIR) }

func (o *openDirectory) ReadDir(n int) (list []fs.DirEntry, err error) {
	if o.closed {
		return nil, o.fail("readdir", fs.ErrClosed)
	}
	if !o.read {
		if o.rest, err = o.f.ReadDir(o.name); err != nil {
			return nil, err
		}
		o.read = true
	}
	if n <= 0 || n > len(o.rest) {
		if n > 0 && len(o.rest) == 0 {
			return nil, io.EOF
		}
		n = len(o.rest)
	}
	list, o.rest = o.rest[:n:n], o.rest[n:]
	return list, nil
}

// ReadDir lists a directory by name.
func (f *FS) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = f.look("readdir", name, func() error {
		ino, err := f.walk(name)
		if err == nil {
			list, err = f.list(ino)
		}
		return err
	})
	return list, err
}

func (f *FS) list(ino *inode) (list []fs.DirEntry, err error) {
	d, err := f.directory(ino)
	if err != nil {
		return nil, err
	}
	for s, err := range d.entries() {
		if err != nil {
			return nil, err
		}
		child, err := f.inode(s.inode)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		list = append(list, child.info(string(s.name)))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, nil
}
