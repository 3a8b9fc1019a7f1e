// Package ext4 edits an ext4 file system in place: in a partition, an image
// file, or anything else that can be read and written at an offset.
//
// Every change is made in buffers. [FS.Close] writes them all in one go; until
// then the device is not touched, and an [FS] that is never closed leaves it as
// it was. An operation that fails is undone before it returns, so the FS can be
// used, and closed, as if it had not been called.
//
// The editor does not touch what it does not fully understand: [Open] refuses a file
// system with a journal to replay, with errors on record, or with a feature that is not
// implemented here. The journal itself is not used, since the file system is not mounted
// meanwhile.
//
// The same changes to the same file system give the same bytes. Nothing is
// random, and the time stamped on what changes is the one given to
// [FS.SetTime].
//
// The format is that of Documentation/filesystems/ext4 in the Linux sources.
// An FS is for one goroutine at a time.
package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

var (
	// ErrCorrupt is wrapped by every error that says the file system is damaged.
	ErrCorrupt = errors.New("corrupt file system")
	// ErrNoSpace is wrapped when blocks, inodes or room in a directory's index
	// run out.
	ErrNoSpace = errors.New("no space left in the file system")
	// ErrNeedsRecovery is wrapped by Open when the file system was not cleanly
	// unmounted.
	ErrNeedsRecovery = errors.New("not cleanly unmounted")
)

// A Device holds a file system.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// An FS is an ext4 file system. Names are as in [fs.ValidPath], "." being the
// root. No method follows a symbolic link: a name that leads through one is an
// error.
type FS struct {
	cache
	super     superblock
	blockSize int
	groups    uint32
	descSize  int
	seed      uint32 // of all metadata checksums
	system    []span // where superblocks, descriptors, bitmaps and inode tables lie
	now       time.Time
	version   int // counts changes, so that open files notice them
	closed    bool
}

// Open opens the file system in the first size bytes of dev. It writes nothing.
func Open(dev Device, size int64) (*FS, error) {
	super, err := readSuperblock(dev, size)
	if err != nil {
		return nil, fmt.Errorf("ext4 superblock: %w", err)
	}
	f := &FS{
		cache:     newCache(dev, super.blockSize(), super.blocks()),
		super:     super,
		blockSize: super.blockSize(),
		groups:    super.groups(),
		descSize:  super.descSize(),
		seed:      super.seed(),
		now:       super.writeTime(),
	}
	if err := f.checkDescriptors(); err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	return f, nil
}

// SetTime sets the time that is stamped on everything changed from now on. Up
// to then it is the time of the last write before the file system was opened.
func (f *FS) SetTime(t time.Time) { f.now = t }

// Time is the time that is stamped on changes.
func (f *FS) Time() time.Time { return f.now }

// Close writes all changes. If it fails in the middle of that, the file system
// is damaged: do not use it. The device stays open.
func (f *FS) Close() error {
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	if !f.cache.changed() {
		return nil
	}
	if err := f.sealSuperblock(); err != nil {
		return fmt.Errorf("ext4 superblock: %w", err)
	}
	if err := f.cache.flush(); err != nil {
		return fmt.Errorf("ext4: %w", err)
	}
	return nil
}

// look runs fn, which reads name.
func (f *FS) look(op, name string, fn func() error) error {
	err := f.usable(name)
	if err == nil {
		f.cache.trim()
		err = fn()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// change runs fn, which changes name, and undoes what it did if it fails.
func (f *FS) change(op, name string, fn func() error) error {
	err := f.usable(name)
	if err == nil && !f.super.has(featureExtents) {
		err = fmt.Errorf("changes without the %v feature: %w", featureExtents, errors.ErrUnsupported)
	}
	if err == nil {
		f.cache.trim()
		f.version++
		f.cache.begin()
		if err = fn(); err != nil {
			f.cache.rollback()
		}
		f.cache.undo = nil
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (f *FS) usable(name string) error {
	if f.closed {
		return fs.ErrClosed
	}
	if !fs.ValidPath(name) {
		return fs.ErrInvalid
	}
	return nil
}
