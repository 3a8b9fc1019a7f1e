// Package rootfs is the file tree of a Pi, wherever that tree lives: in a disk
// image, in a directory that a controller exports over NFS, or at / on the Pi
// itself. An edit written once works on all three.
//
// It also knows how to tell, by looking inside, which release of Raspberry Pi
// OS a tree holds: see [Identify].
package rootfs

import "io/fs"

// A Tree is a file tree rooted at the Pi's /. The boot partition appears where
// the Pi mounts it. Names are as in [fs.ValidPath]: slash-separated, without a
// leading slash; the methods are named, and behave, as those of [os.Root].
//
// Errors are of type [fs.PathError] and match, in every Tree, [fs.ErrNotExist],
// [fs.ErrExist], [fs.ErrInvalid] (an invalid name; ReadLink of what is no link),
// [syscall.ENOTDIR], [syscall.EISDIR], [syscall.ENOTEMPTY] or [syscall.ELOOP] where
// that is what went wrong.
//
// Symbolic links are followed as the Pi would follow them: an absolute target
// starts again at the root of the tree, and none leads out of it. Where a file
// system cannot hold what is asked of it (FAT has no symbolic links), the error
// matches [errors.ErrUnsupported].
type Tree interface {
	fs.ReadLinkFS // Open, ReadLink, Lstat

	// Stat is Lstat of what name leads to.
	Stat(name string) (fs.FileInfo, error)

	// WriteFile replaces the content of a file, which keeps its owner and mode,
	// or creates one that is owned by root and has the permissions perm.
	WriteFile(name string, data []byte, perm fs.FileMode) error
	Mkdir(name string, perm fs.FileMode) error
	Symlink(target, name string) error
	// Remove takes away a file, a link or an empty directory.
	Remove(name string) error
	// Chmod sets the permissions of what name leads to. FAT keeps none: there,
	// nothing happens.
	Chmod(name string, perm fs.FileMode) error
}
