package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"clusterctrl/internal/node"
)

// A Dir is a directory of disks, usually [node.Disks]. A node's file of changes has the
// node's name. No node can write there.
type Dir struct {
	Path string
	// Card is the device of the partition with the image that the controller's card brought
	// for its nodes. If empty, it is the third partition of the disk that holds the root.
	Card string
	// Force has Reset and Remove end the connections of a node, instead of refusing to touch
	// its disk.
	Force bool
}

// Errors about disks that another program or a node uses.
var (
	errLocked = errors.New("another program has locked it")
	// ErrConnected is wrapped by the error that a disk is in use.
	ErrConnected = errors.New("its node is connected, or another program reads it")
	// ErrBusy is wrapped by the error that another program changes the directory.
	ErrBusy = errors.New("another program is changing the disks")
)

// Progress begins to show how far a piece of work of total bytes is. The bytes that are
// written to the writer are those that are done; closing it ends the show.
type Progress func(what string, total int64) io.WriteCloser

// start calls p, which may be nil.
func (p Progress) start(what string, total int64) io.WriteCloser {
	if p == nil {
		return silent{}
	}
	return p(what, total)
}

type silent struct{}

func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) Close() error                { return nil }

func (d Dir) file(id node.ID) string { return filepath.Join(d.Path, id.String()) }

// part is the name of a file of changes that is not complete.
func (d Dir) part(id node.ID) string { return filepath.Join(d.Path, "."+id.String()+".part") }

// IDs returns the nodes that have a disk, in their order.
func (d Dir) IDs() ([]node.ID, error) {
	entries, err := os.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []node.ID
	for _, e := range entries {
		if id, err := node.ParseID(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// header reads the header of a node's disk.
func (d Dir) header(id node.ID) (header, error) {
	f, err := os.Open(d.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return header{}, fmt.Errorf("%v has no disk: %w", id, err)
	}
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return header{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return h, nil
}

// lock keeps other programs from changing the directory, and removes what programs that
// ended early have left there.
func (d Dir) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Join(d.Path, baseDir), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		f.Close()
		if errors.Is(err, errLocked) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	parts, err := filepath.Glob(filepath.Join(d.Path, ".p*.part"))
	for _, name := range append(parts, filepath.Join(d.Path, baseDir, baseTemp)) {
		if rmErr := os.Remove(name); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return func() { f.Close() }, err
}

// An opened disk is used by this program alone until Close.
type opened struct {
	*Disk
	file *os.File
	base openedBase
}

// open opens a node's disk.
func (d Dir) open(id node.ID) (*opened, error) {
	f, err := d.claim(id)
	if err != nil {
		return nil, err
	}
	o, err := d.over(f)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", id, err)
	}
	return o, nil
}

// claim opens and locks a node's file of changes.
func (d Dir) claim(id node.ID) (*os.File, error) {
	for {
		f, err := os.OpenFile(d.file(id), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%v has no disk: %w", id, err)
		}
		if err != nil {
			return nil, err
		}
		if err := tryLock(f); err != nil {
			f.Close()
			if errors.Is(err, errLocked) {
				err = ErrConnected
			}
			return nil, fmt.Errorf("%v: %w", id, err)
		}
		mine, err := f.Stat()
		named, err2 := os.Stat(f.Name())
		if err == nil && err2 == nil && os.SameFile(mine, named) {
			return f, nil
		}
		f.Close() // a reset took its name away before it was locked
	}
}

// over opens the disk in a file of changes, which it closes if it fails.
func (d Dir) over(f *os.File) (*opened, error) {
	h, err := readHeader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	base, err := d.openBase(h.Base)
	if err != nil {
		f.Close()
		return nil, err
	}
	disk, err := Open(file{f}, base)
	if err != nil {
		return nil, errors.Join(err, base.Close(), f.Close())
	}
	return &opened{disk, f, base}, nil
}

func (o *opened) Close() error { return errors.Join(o.file.Close(), o.base.Close()) }

// DefaultSize is that of a disk in bytes, unless its base is larger: a card of 8 GB.
const DefaultSize = 8 << 30

// An Addition is what Add makes disks of.
type Addition struct {
	// Unpack writes the image into an empty file.
	Unpack func(to *os.File) error
	// Sectors returns, for an image in a file of this name, the sector by which it becomes
	// that of each node. It returns an error if the image is not for nodes of a cluster.
	Sectors func(image string, ids []node.ID) ([]Sector, error)

	Size     int64 // of each disk in bytes, 0 for the default
	Progress Progress
}

// Add makes disks over an image, which is kept once. After an error, none of the nodes has
// one.
func (d Dir) Add(ctx context.Context, a Addition, ids ...node.ID) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.without(ids); err != nil {
		return err
	}
	base, sectors, err := d.unpack(ctx, a, ids)
	if err == nil {
		err = d.makeAll(a.size(base), base, sectors, ids)
	}
	if err != nil {
		return errors.Join(full(err), d.removeUnused())
	}
	return nil
}

// without reports a node that has a disk already.
func (d Dir) without(ids []node.ID) error {
	for _, id := range ids {
		if _, err := os.Lstat(d.file(id)); err == nil {
			return fmt.Errorf("%v has a disk already: remove it first, or reset it", id)
		}
	}
	return nil
}

// makeAll makes disks over a base: all, or after an error none.
func (d Dir) makeAll(size int64, base Base, sectors []Sector, ids []node.ID) error {
	if err := d.make(size, base, sectors, ids); err != nil {
		for _, id := range ids {
			os.Remove(d.part(id))
		}
		return err
	}
	for _, id := range ids {
		if err := os.Rename(d.part(id), d.file(id)); err != nil {
			return err
		}
	}
	return syncDir(d.Path)
}

func (a Addition) size(base Base) int64 {
	if a.Size > 0 {
		return a.Size
	}
	return max(DefaultSize, base.Size)
}

// unpack makes a base of the image.
func (d Dir) unpack(ctx context.Context, a Addition, ids []node.ID) (Base, []Sector, error) {
	image, err := os.OpenFile(filepath.Join(d.Path, baseDir, baseTemp), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Base{}, nil, err
	}
	defer os.Remove(image.Name())
	defer image.Close()
	if err := a.Unpack(image); err != nil {
		return Base{}, nil, err
	}
	info, err := image.Stat()
	if err != nil {
		return Base{}, nil, err
	}
	if a.Size > 0 && info.Size() > a.Size {
		return Base{}, nil, fmt.Errorf("the image has %d bytes, more than a disk of %d", info.Size(), a.Size)
	}
	sectors, err := a.Sectors(image.Name(), ids)
	if err != nil {
		return Base{}, nil, err
	}
	base, err := d.addBase(ctx, image, a.Progress)
	return base, sectors, err
}

// make makes files of changes that have no names yet.
func (d Dir) make(size int64, base Base, sectors []Sector, ids []node.ID) error {
	over, err := d.openBase(base)
	if err != nil {
		return err
	}
	defer over.Close()
	for i, id := range ids {
		if err := makeFile(d.part(id), size, over, base, sectors[i]); err != nil {
			return fmt.Errorf("%v: %w", id, err)
		}
	}
	return nil
}

func makeFile(name string, size int64, over io.ReaderAt, base Base, first Sector) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(Create(file{f}, size, over, base, first), f.Sync(), f.Close())
}

// Reset throws away what a node changed.
func (d Dir) Reset(id node.ID) error {
	return d.change(id, func() error {
		h, err := d.header(id)
		if err != nil {
			return err
		}
		if err := d.make(h.Size, h.Base, []Sector{h.First}, []node.ID{id}); err != nil {
			os.Remove(d.part(id))
			return full(err)
		}
		return os.Rename(d.part(id), d.file(id))
	})
}

// Remove removes a node's disk, and its base if no other disk is over that.
func (d Dir) Remove(id node.ID) error {
	return d.change(id, func() error { return errors.Join(os.Remove(d.file(id)), d.removeUnused()) })
}

// change does something to a disk that no node uses. With Force it does so to any disk, and
// then ends the node's connections. A node that connects meanwhile is refused.
func (d Dir) change(id node.ID, do func() error) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f, err := d.claim(id)
	connected := errors.Is(err, ErrConnected)
	switch {
	case connected && !d.Force:
		return fmt.Errorf("%w: shut it down first, or use --force", err)
	case err != nil && !connected:
		return err
	case f != nil:
		defer f.Close()
	}
	if err := errors.Join(do(), syncDir(d.Path)); err != nil || !connected {
		return err
	}
	return d.disconnect(id)
}

// full says what to do where there is no room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: reset or remove disks that are not needed (clusterctrl disk list), or give the controller a larger card", err)
	}
	return err
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
