package fat

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"syscall"
)

// WriteFile replaces the content of a file, which keeps its place on the device
// as far as the new content needs it, or creates the file. As FAT keeps no
// permissions, perm means nothing; see [FS.Chmod].
func (fsys *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return pathError("write", name, fsys.writeFile(name, data))
}

func (fsys *FS) writeFile(name string, data []byte) error {
	if err := checkSize(int64(len(data))); err != nil {
		return err
	}
	dir, last, err := fsys.parent(name)
	if err != nil {
		return err
	}
	e := dir.find(last)
	if e == nil && last != "." {
		return fsys.createFile(dir, last, data)
	}
	if e == nil || e.isDir() {
		return syscall.EISDIR
	}
	chain, err := fsys.chain(e)
	if err != nil {
		return err
	}
	if err := fsys.table.reserve(fsys.table.clustersFor(int64(len(data))) - len(chain)); err != nil {
		return err
	}
	fsys.fill(&e.dirent, chain, data)
	e.Attr |= attrArchive
	e.written(fsys.now)
	e.update()
	return nil
}

func checkSize(n int64) error {
	if n > math.MaxUint32 {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, n, uint32(math.MaxUint32))
	}
	return nil
}

func (fsys *FS) createFile(dir *directory, name string, data []byte) error {
	v, err := fsys.vacancy(dir, name, nil)
	if err != nil {
		return err
	}
	if err := fsys.table.reserve(v.growth + fsys.table.clustersFor(int64(len(data)))); err != nil {
		return err
	}
	rec := dirent{Attr: attrArchive}
	rec.created(fsys.now)
	e := fsys.occupy(v, rec)
	fsys.fill(&e.dirent, nil, data)
	e.update()
	fsys.touch(dir)
	return nil
}

// fill makes data the content of a file that has the clusters chain so far.
// Only the sectors that it needs are written, the rest of the last is zero.
func (fsys *FS) fill(rec *dirent, chain []uint32, data []byte) {
	chain = fsys.resize(chain, fsys.table.clustersFor(int64(len(data))))
	rec.start(fsys.table.geometry, chain)
	rec.Size = uint32(len(data))
	sectors := (len(data) + fsys.table.sectorSize - 1) / fsys.table.sectorSize
	content := make([]byte, sectors*fsys.table.sectorSize)
	copy(content, data)
	for _, c := range chain {
		n := min(len(content), fsys.table.clusterSize)
		fsys.pending[c] = content[:n:n]
		content = content[n:]
	}
}

// resize makes a chain n clusters long and forgets data that was to be written to the
// clusters that the chain loses.
func (fsys *FS) resize(chain []uint32, n int) []uint32 {
	for _, c := range chain[min(n, len(chain)):] {
		delete(fsys.pending, c)
	}
	return fsys.table.resize(chain, n)
}

// touch stamps a directory that has got or lost an entry.
func (fsys *FS) touch(d *directory) {
	d.self.written(fsys.now)
	d.self.update()
}

// Mkdir creates a directory.
func (fsys *FS) Mkdir(name string, perm fs.FileMode) error {
	return pathError("mkdir", name, fsys.mkdir(name))
}

func (fsys *FS) mkdir(name string) error {
	dir, last, err := fsys.parent(name)
	if err != nil {
		return err
	}
	if last == "." || dir.find(last) != nil {
		return fs.ErrExist
	}
	v, err := fsys.vacancy(dir, last, nil)
	if err != nil {
		return err
	}
	if err := fsys.table.reserve(v.growth + 1); err != nil {
		return err
	}
	rec := dirent{Attr: attrDirectory}
	rec.created(fsys.now)
	chain := fsys.table.extend(nil, 1)
	rec.start(fsys.table.geometry, chain)
	e := fsys.occupy(v, rec)
	e.dir = &directory{self: e, chain: chain, raw: make([]byte, fsys.table.clusterSize), end: 2, changed: true}
	rec.Name = dotName
	rec.encode(e.dir.slotBytes(0))
	rec.Name = dotDotName
	rec.encode(e.dir.slotBytes(1))
	fsys.link(e.dir)
	fsys.touch(dir)
	return nil
}

// link makes the directory's ".." lead to its parent. The root's number is
// written as 0, on FAT32 too.
func (fsys *FS) link(d *directory) {
	var up []uint32
	if parent := d.self.in; parent != fsys.root {
		up = parent.chain
	}
	rec := decodeDirent(d.slotBytes(1))
	rec.start(fsys.table.geometry, up)
	rec.encode(d.slotBytes(1))
	d.changed = true
}

// Remove removes a file or an empty directory.
func (fsys *FS) Remove(name string) error {
	return pathError("remove", name, fsys.remove(name))
}

func (fsys *FS) remove(name string) error {
	e, err := fsys.lookup(name)
	if err != nil {
		return err
	}
	if e.in == nil {
		return fs.ErrInvalid
	}
	if e.isDir() {
		d, err := fsys.enter(e)
		if err != nil {
			return err
		}
		if len(d.entries) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	if err := fsys.release(e); err != nil {
		return err
	}
	e.delete()
	fsys.touch(e.in)
	return nil
}

// release frees the clusters of an entry.
func (fsys *FS) release(e *entry) error {
	if e.dir != nil {
		fsys.resize(e.dir.chain, 0)
		return nil
	}
	chain, err := fsys.chain(e)
	if err != nil {
		return err
	}
	fsys.resize(chain, 0)
	return nil
}

// Rename renames a file or directory, or moves it to another directory. A file may
// replace a file; it then gets the name of that file, in its case, as on Linux.
func (fsys *FS) Rename(old, new string) error {
	if err := fsys.rename(old, new); err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: err}
	}
	return nil
}

func (fsys *FS) rename(old, new string) error {
	e, err := fsys.lookup(old)
	if err != nil {
		return err
	}
	dir, last, err := fsys.parent(new)
	if err != nil {
		return err
	}
	if e.in == nil || last == "." {
		return fs.ErrInvalid
	}
	for d := dir; d != nil; d = d.self.in {
		if d.self == e {
			return fmt.Errorf("%w: a directory cannot be moved into itself", fs.ErrInvalid)
		}
	}
	switch target := dir.find(last); {
	case target == nil || target == e && target.name != last:
		return fsys.move(e, dir, last)
	case target == e:
		return nil
	default:
		return fsys.replace(target, e)
	}
}

// move gives an entry another directory or name, which no other one has there.
func (fsys *FS) move(e *entry, dir *directory, name string) error {
	v, err := fsys.vacancy(dir, name, e)
	if err != nil {
		return err
	}
	if err := fsys.table.reserve(v.growth); err != nil {
		return err
	}
	if e.isDir() {
		if _, err := fsys.enter(e); err != nil {
			return err
		}
	}
	moved := fsys.occupy(v, e.dirent)
	if moved.dir = e.dir; moved.dir != nil {
		moved.dir.self = moved
		if e.in != dir {
			fsys.link(moved.dir)
		}
	}
	e.delete()
	fsys.touch(e.in)
	fsys.touch(dir)
	return nil
}

// replace puts the file e in the place of the file target.
func (fsys *FS) replace(target, e *entry) error {
	switch {
	case target.isDir() && e.isDir():
		return fs.ErrExist
	case target.isDir():
		return syscall.EISDIR
	case e.isDir():
		return syscall.ENOTDIR
	}
	if err := fsys.release(target); err != nil {
		return err
	}
	rec := e.dirent
	rec.Name, rec.Case = target.Name, target.Case
	target.dirent = rec
	target.update()
	e.delete()
	fsys.touch(e.in)
	fsys.touch(target.in)
	return nil
}
