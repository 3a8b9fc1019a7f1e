// Package nfs keeps the roots of nodes that have no card: directories on the
// controller that nodes mount over NFS.
//
// A node has all rights in its own root, so the controller does not trust what lies there:
// it runs nothing of it, and follows no name or link out of it. A root gets its name only
// once it is complete.
package nfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"clusterctrl/internal/node"
	"golang.org/x/sys/unix"
)

// Roots is the directory of all roots, usually [node.NFSRoots]. Nodes cannot write
// to it.
type Roots struct {
	dir  *os.Root
	lock *os.File
}

// ErrBusy is wrapped by the error that another program changes roots.
var ErrBusy = errors.New("another program is changing the roots")

// Open opens the directory, and keeps other programs from changing roots until
// Close.
func Open(dir string) (*Roots, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	lock, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), lock.Close(), root.Close())
	}
	return &Roots{root, lock}, nil
}

// Close lets others change roots.
func (r *Roots) Close() error { return errors.Join(r.lock.Close(), r.dir.Close()) }

// Has reports whether a node has a root. Images come with an empty directory for
// each node.
func (r *Roots) Has(id node.ID) (bool, error) {
	dir, err := r.dir.Open(id.String())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	if err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

// partName is the name of a root that is not complete yet, or that is being removed. No
// node has such a name.
func partName(id node.ID) string { return "." + id.String() + ".part" }

// An Addition is what Add makes roots of.
type Addition struct {
	Archive io.Reader // tar, as it is or packed by zstd or xz
	// Replace has Add replace the roots that the nodes have already.
	Replace bool
}

// Add unpacks an archive for several nodes at once, brands each root, and gives each its
// name. If that ends early, by an error or a power cut, each node has the new root whole,
// or what it had before: the old root or none.
func (r *Roots) Add(ctx context.Context, a Addition, ids ...node.ID) error {
	if err := r.mayAdd(a.Replace, ids); err != nil {
		return err
	}
	parts, err := r.makeParts(ids)
	defer func() {
		for _, p := range parts {
			p.Close()
		}
		for _, id := range ids {
			_ = r.dir.RemoveAll(partName(id))
		}
	}()
	if err != nil {
		return err
	}
	archive, err := decompress(a.Archive)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := unpack(ctx, archive, parts); err != nil {
		return full(err)
	}
	flushLater := func() error { return nil }
	for i, id := range ids {
		if err := brand(parts[i].Name(), id, flushLater); err != nil {
			return fmt.Errorf("%v: %w", id, full(err))
		}
	}
	if err := r.flush(); err != nil {
		return full(err)
	}
	for _, id := range ids {
		if err := r.publish(id); err != nil {
			return fmt.Errorf("%v: %w", id, err)
		}
	}
	return r.lock.Sync()
}

// flush waits until the disk has all that was written.
func (r *Roots) flush() error { return unix.Syncfs(int(r.lock.Fd())) }

func (r *Roots) mayAdd(replace bool, ids []node.ID) error {
	for _, id := range ids {
		there, err := r.Has(id)
		if err != nil {
			return err
		}
		if there && !replace {
			return fmt.Errorf("%v has a root already: remove it first, or replace it with --force", id)
		}
	}
	return nil
}

// makeParts makes an empty directory for each node, without what an earlier try
// left.
func (r *Roots) makeParts(ids []node.ID) ([]*os.Root, error) {
	var parts []*os.Root
	for _, id := range ids {
		name := partName(id)
		if err := errors.Join(r.dir.RemoveAll(name), r.dir.Mkdir(name, 0o700)); err != nil {
			return parts, err
		}
		part, err := r.dir.OpenRoot(name)
		if err != nil {
			return parts, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// publish gives a complete root its node's name, in exchange for the root or the empty
// directory that has the name: after a power cut, the name leads to one of the two.
func (r *Roots) publish(id node.ID) error {
	dir := int(r.lock.Fd()) // package os exchanges no names
	err := unix.Renameat2(dir, partName(id), dir, id.String(), unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) { // nothing has the name
		err = unix.Renameat(dir, partName(id), dir, id.String())
	}
	if err != nil {
		return err
	}
	return errors.Join(flushExports(), r.dir.RemoveAll(partName(id)))
}

// Remove takes a node's root away and leaves the empty directory that is exported.
func (r *Roots) Remove(id node.ID) error {
	there, err := r.Has(id)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%v has no root", id)
	}
	old := partName(id)
	if err := errors.Join(r.dir.RemoveAll(old), r.dir.Rename(id.String(), old)); err != nil {
		return err
	}
	return errors.Join(r.dir.Mkdir(id.String(), 0o755), flushExports(), r.dir.RemoveAll(old))
}

// full says what to do where there is no room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: remove roots that are not used (clusterctrl usbboot remove), or give the controller a larger card", err)
	}
	return err
}

// exportCaches are the files by which the kernel's NFS server is told to forget which
// directory an exported name is (Documentation/filesystems/nfs/rpc-cache.rst).
var exportCaches = []string{"/proc/net/rpc/nfsd.export/flush", "/proc/net/rpc/nfsd.fh/flush"}

// flushExports has the NFS server, if it runs, look up exported names again. It forgets what
// is older than the time that is written, which lies far ahead.
func flushExports() error {
	for _, name := range exportCaches {
		err := os.WriteFile(name, []byte("9999999999\n"), 0)
		if err != nil && !slices.ContainsFunc([]error{fs.ErrNotExist, syscall.ENOENT}, func(e error) bool { return errors.Is(err, e) }) {
			return err
		}
	}
	return nil
}
