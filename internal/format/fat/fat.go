// Package fat edits a FAT16 or FAT32 file system in place.
//
// Changes stay in memory until [FS.Close] writes them in one go: data, then the
// file allocation tables, then directories. An FS that is never closed leaves
// its device as it was. Names are looked up without regard to case, and long
// names and their 8.3 aliases made, as the Linux kernel does.
//
// [Open] goes through all directories and cluster chains once and refuses a
// file system that is inconsistent, so that an edit cannot make it worse.
// A dirty flag alone is no reason; it is reported and kept.
//
// FAT12 is not supported. An FS must not be used by several goroutines at once.
package fat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"slices"
	"syscall"
	"time"
)

var (
	// ErrCorrupt is wrapped by every error that says the file system is damaged,
	// or is none at all.
	ErrCorrupt = errors.New("corrupt file system")

	// ErrNoSpace is wrapped by every error that says the file system, or a
	// directory, is full.
	ErrNoSpace = errors.New("no space left")

	// ErrTooLarge is wrapped by the error that says a file of 4 GiB or more
	// cannot be on FAT.
	ErrTooLarge = errors.New("file too large")
)

// A Device is what a file system lives on: a partition, or an image of one.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// An FS is an open file system. It implements [fs.ReadFileFS] and
// [fs.ReadDirFS]; errors are of type [fs.PathError].
type FS struct {
	dev     Device
	boot    boot
	table   *table
	summary *summary // nil if there is none
	root    *directory
	pending map[uint32][]byte // new content of clusters of files
	now     stamp
}

// Open opens the file system on a device of size bytes.
func Open(dev Device, size int64) (*FS, error) {
	b, err := readBoot(dev)
	if err != nil {
		return nil, err
	}
	g, err := b.geometry(size)
	if err != nil {
		return nil, err
	}
	fsys := &FS{dev: dev, boot: b, pending: map[uint32][]byte{}, now: newStamp(time.Time{})}
	if fsys.table, err = openTable(dev, g); err != nil {
		return nil, err
	}
	if fsys.summary, err = readSummary(dev, g); err != nil {
		return nil, err
	}
	if fsys.summary != nil {
		fsys.table.last = fsys.summary.Next
	}
	self := &entry{name: ".", dirent: dirent{Attr: attrDirectory}}
	if fsys.root, err = fsys.load(self); err != nil {
		return nil, err
	}
	if err := fsys.check(); err != nil {
		return nil, err
	}
	return fsys, nil
}

// SetTime sets the time that everything changed from now on is stamped with.
// FAT's local time is taken as UTC, in steps of two seconds. Without SetTime it
// is 1980-01-01, the first day FAT knows.
func (fsys *FS) SetTime(t time.Time) { fsys.now = newStamp(t) }

// load reads a directory.
func (fsys *FS) load(e *entry) (*directory, error) {
	d := &directory{self: e}
	first := e.cluster(fsys.table.geometry)
	if e.in == nil {
		first = fsys.table.rootCluster
	}
	if first == 0 && e.in == nil {
		d.raw = make([]byte, fsys.table.rootSize)
		if n, err := fsys.dev.ReadAt(d.raw, fsys.table.rootStart); n < len(d.raw) {
			return nil, fmt.Errorf("root directory: %w", err)
		}
		return d, d.parse()
	}
	var err error
	if d.chain, err = fsys.table.chain(first); err != nil {
		return nil, err
	}
	size := int64(len(d.chain)) * int64(fsys.table.clusterSize)
	if size > maxSlots*direntSize {
		return nil, fmt.Errorf("%w: a directory of %d bytes, want at most %d", ErrCorrupt, size, maxSlots*direntSize)
	}
	d.raw = make([]byte, size)
	if err := fsys.readAt(d.raw, d.chain, 0); err != nil {
		return nil, err
	}
	if e.in != nil && !d.hasDots() {
		return nil, fmt.Errorf("%w: a directory without . and .. at its start", ErrCorrupt)
	}
	return d, d.parse()
}

// check walks the tree and refuses chains that are broken, shorter than their
// file or shared, and directories that cannot be read.
func (fsys *FS) check() error {
	owned := make([]uint64, (fsys.table.clusters+firstCluster+63)/64)
	own := func(c uint32, n int) error {
		for end := c + uint32(n); c < end; c = c/64*64 + 64 {
			run := ^uint64(0) << (c % 64)
			if after := end - c/64*64; after < 64 {
				run &= 1<<after - 1
			}
			if twice := owned[c/64] & run; twice != 0 {
				return fmt.Errorf("%w: cluster %d is used twice", ErrCorrupt, c/64*64+uint32(bits.TrailingZeros64(twice)))
			}
			owned[c/64] |= run
		}
		return nil
	}
	for _, c := range fsys.root.chain {
		if err := own(c, 1); err != nil {
			return err
		}
	}
	for todo := slices.Clone(fsys.root.entries); len(todo) > 0; {
		e := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := fsys.walk(e, own)
		if err == nil && e.isDir() {
			var d *directory
			if d, err = fsys.load(e); err == nil {
				todo = append(todo, d.entries...)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// chain returns the clusters of a file or directory.
func (fsys *FS) chain(e *entry) ([]uint32, error) {
	var chain []uint32
	err := fsys.walk(e, gather(&chain))
	return chain, err
}

// walk calls visit with the clusters of a file or directory. There may be more than
// its size asks for, after a power cut.
func (fsys *FS) walk(e *entry, visit func(c uint32, n int) error) error {
	first := e.cluster(fsys.table.geometry)
	if first == 0 && e.Size == 0 && !e.isDir() {
		return nil
	}
	n, err := fsys.table.walk(first, visit)
	if err != nil {
		return err
	}
	if need := fsys.table.clustersFor(int64(e.Size)); need > n && !e.isDir() {
		return fmt.Errorf("%w: %d bytes in %d clusters, want %d", ErrCorrupt, e.Size, n, need)
	}
	return nil
}

// lookup returns what is called name.
func (fsys *FS) lookup(name string) (*entry, error) {
	dir, last, err := fsys.parent(name)
	if err != nil {
		return nil, err
	}
	if last == "." {
		return dir.self, nil
	}
	e := dir.find(last)
	if e == nil {
		return nil, fs.ErrNotExist
	}
	return e, nil
}

// parent returns the directory that name is in and its last element, which is
// "." for the root.
func (fsys *FS) parent(name string) (*directory, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", fs.ErrInvalid
	}
	dir := fsys.root
	elements := splitPath(name)
	for _, element := range elements[:len(elements)-1] {
		e := dir.find(element)
		if e == nil {
			return nil, "", fs.ErrNotExist
		}
		var err error
		if dir, err = fsys.enter(e); err != nil {
			return nil, "", err
		}
	}
	return dir, elements[len(elements)-1], nil
}

// enter returns what a directory holds.
func (fsys *FS) enter(e *entry) (*directory, error) {
	if !e.isDir() {
		return nil, syscall.ENOTDIR
	}
	if e.in == nil {
		return fsys.root, nil
	}
	var err error
	if e.dir == nil {
		e.dir, err = fsys.load(e)
	}
	return e.dir, err
}
