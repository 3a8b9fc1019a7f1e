package fat

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Open opens a file or directory for reading. Changes made to the file system
// afterwards may or may not be seen. A file also is an [io.ReaderAt] and an
// [io.Seeker].
func (fsys *FS) Open(name string) (fs.File, error) {
	e, err := fsys.lookup(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if e.isDir() {
		d, err := fsys.enter(e)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return &openDir{status: e.status(), entries: d.list()}, nil
	}
	c, err := fsys.content(e)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &openFile{io.NewSectionReader(c, 0, c.size), e.status()}, nil
}

// ReadFile returns the content of a file.
func (fsys *FS) ReadFile(name string) ([]byte, error) {
	e, err := fsys.lookup(name)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	c, err := fsys.content(e)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	content := make([]byte, c.size)
	return content, pathError("read", name, fsys.readAt(content, c.chain, 0))
}

// ReadDir returns what is in a directory, sorted by name.
func (fsys *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := fsys.lookup(name)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	d, err := fsys.enter(e)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	return d.list(), nil
}

// Lstat describes a file. Its mode is the one that Linux makes up by default:
// 0755, or 0555 for a file that is read-only.
func (fsys *FS) Lstat(name string) (fs.FileInfo, error) {
	e, err := fsys.lookup(name)
	if err != nil {
		return nil, pathError("lstat", name, err)
	}
	return e.status(), nil
}

func (d *directory) list() []fs.DirEntry {
	list := make([]fs.DirEntry, len(d.entries))
	for i, e := range d.entries {
		list[i] = fs.FileInfoToDirEntry(e.status())
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list
}

// A content is what a file holds.
type content struct {
	fsys  *FS
	chain []uint32
	size  int64
}

func (fsys *FS) content(e *entry) (content, error) {
	if e.isDir() {
		return content{}, syscall.EISDIR
	}
	chain, err := fsys.chain(e)
	return content{fsys, chain, int64(e.Size)}, err
}

// ReadAt serves an [io.SectionReader], which never asks beyond size.
func (c content) ReadAt(p []byte, off int64) (int, error) {
	if err := c.fsys.readAt(p, c.chain, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// readAt fills p from the clusters of a chain, a run of neighbours at a time.
func (fsys *FS) readAt(p []byte, chain []uint32, off int64) error {
	size := int64(fsys.table.clusterSize)
	for len(p) > 0 {
		i, skip := off/size, off%size
		if i >= int64(len(chain)) {
			return fmt.Errorf("%w: cluster %d of a chain of %d", ErrCorrupt, i, len(chain))
		}
		first, n := chain[i], 1
		if block, ok := fsys.pending[first]; ok {
			n = copy(p, block[skip:])
		} else {
			run := fsys.run(chain[i:])
			n = int(min(int64(len(p)), int64(run)*size-skip))
			if got, err := fsys.dev.ReadAt(p[:n], fsys.table.clusterStart(first)+skip); got < n {
				return fmt.Errorf("cluster %d: %w", first, err)
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// run is the number of clusters at the start of chain that follow each other
// on the device and have no new content.
func (fsys *FS) run(chain []uint32) int {
	n := 1
	for n < len(chain) && chain[n] == chain[0]+uint32(n) && fsys.pending[chain[n]] == nil {
		n++
	}
	return n
}

// splitPath returns the elements of a path.
func splitPath(name string) []string { return strings.Split(name, "/") }

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// A status is the [fs.FileInfo] of an entry.
type status struct {
	name string
	rec  dirent
}

func (e *entry) status() status { return status{e.name, e.dirent} }

func (s status) Name() string       { return s.name }
func (s status) Size() int64        { return int64(s.rec.Size) }
func (s status) Mode() fs.FileMode  { return s.rec.mode() }
func (s status) ModTime() time.Time { return s.rec.modTime() }
func (s status) IsDir() bool        { return s.rec.isDir() }
func (s status) Sys() any           { return nil }

// An openFile is a file that is being read.
type openFile struct {
	*io.SectionReader
	status status
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.status, nil }
func (f *openFile) Close() error               { return nil }

// An openDir is a directory that is being read.
type openDir struct {
	status  status
	entries []fs.DirEntry // still to be read
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.status, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, pathError("read", d.status.name, syscall.EISDIR)
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	list := d.entries[:n:n]
	d.entries = d.entries[n:]
	return list, nil
}
