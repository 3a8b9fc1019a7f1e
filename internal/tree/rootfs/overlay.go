package rootfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// An Overlay is a Tree that keeps all changes in memory, over a base tree that stays
// unchanged. [Overlay.Changes] returns the changes, which can then be made in the base.
type Overlay struct {
	base  remembered
	files map[string]*File // changed since, nil for removed
	order []string         // names in files, the one changed last at the end
}

// A File is what a tree holds under a name: a file's Data, a link's Target, or
// a directory.
type File struct {
	Mode   fs.FileMode
	Data   []byte
	Target string
}

// A Change is a difference between two trees. Old is nil for what is new, New
// for what is gone.
type Change struct {
	Name     string
	Old, New *File
}

// NewOverlay returns an Overlay over base without changes.
func NewOverlay(base Tree) *Overlay {
	memory := remembered{base, map[string]found{}, map[string][]fs.DirEntry{}, map[string][]byte{}}
	return &Overlay{base: memory, files: map[string]*File{}}
}

// remembered asks a tree that stays as it is about each name once: edits ask for
// the same directories over and over, and a Pi has a slow core for it.
type remembered struct {
	Tree
	infos map[string]found
	lists map[string][]fs.DirEntry
	texts map[string][]byte
}

// found is what Lstat returned.
type found struct {
	info fs.FileInfo
	err  error
}

func (r remembered) Lstat(name string) (fs.FileInfo, error) {
	f, ok := r.infos[name]
	if !ok {
		f.info, f.err = r.Tree.Lstat(name)
		r.infos[name] = f
	}
	return f.info, f.err
}

func (r remembered) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, ok := r.lists[name]
	if ok {
		return entries, nil
	}
	entries, err := fs.ReadDir(r.Tree, name)
	if err == nil {
		r.lists[name] = entries
	}
	return entries, err
}

// readFile returns the content of a file whose name leads through no link.
func (r remembered) readFile(name string, limit int64) ([]byte, error) {
	text, ok := r.texts[name]
	if ok && int64(len(text)) <= limit {
		return bytes.Clone(text), nil
	}
	info, err := r.Lstat(name)
	if err != nil {
		return nil, err
	}
	if text, err = readKnown(r.Tree, name, info, limit); err != nil {
		return nil, err
	}
	r.texts[name] = text
	return bytes.Clone(text), nil
}

// Changes returns how the overlay differs from its base, in the order in which
// the changes are to be made: what was written last comes last.
func (o *Overlay) Changes() ([]Change, error) {
	var changes []Change
	for _, name := range o.order {
		old, err := o.below(name)
		if err != nil {
			return nil, err
		}
		if c := (Change{name, old, o.files[name]}); !c.empty() {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// inBase reports whether the base can have a file under name. Where the base has a link
// on the way to it, and the overlay a directory, the base has no such file.
func (o *Overlay) inBase(name string) bool {
	changed := false
	for i := strings.LastIndexByte(name, '/'); i > 0 && !changed; i = strings.LastIndexByte(name[:i], '/') {
		_, changed = o.files[name[:i]]
	}
	if !changed {
		return true // the way there is the overlay's, which has no link
	}
	at, err := resolve(o.base, "lstat", name, false)
	return err == nil && at == name
}

// below returns what the base has under name, nil for nothing.
func (o *Overlay) below(name string) (*File, error) {
	if !o.inBase(name) {
		return nil, nil
	}
	f, err := o.base.file(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func (c Change) empty() bool {
	if c.Old == nil || c.New == nil {
		return c.Old == c.New
	}
	return c.Old.Mode == c.New.Mode && c.Old.Target == c.New.Target && bytes.Equal(c.Old.Data, c.New.Data)
}

// Apply makes the change in tree.
func (c Change) Apply(tree Tree) error {
	if c.New == nil {
		return tree.Remove(c.Name)
	}
	kept := c.Old != nil && c.Old.Mode.Type() == c.New.Mode.Type() && c.New.Mode.Type() != fs.ModeSymlink
	if c.Old != nil && !kept {
		if err := tree.Remove(c.Name); err != nil {
			return err
		}
	}
	perm := c.New.Mode.Perm()
	switch {
	case c.New.Mode.Type() == fs.ModeSymlink:
		return tree.Symlink(c.New.Target, c.Name)
	case !kept && c.New.Mode.IsDir():
		return tree.Mkdir(c.Name, perm)
	case c.New.Mode.IsRegular() && (!kept || !bytes.Equal(c.Old.Data, c.New.Data)):
		if err := tree.WriteFile(c.Name, c.New.Data, perm); err != nil {
			return err
		}
	}
	if kept && c.Old.Mode != c.New.Mode {
		return tree.Chmod(c.Name, perm)
	}
	return nil
}

// file returns what the tree holds under name, not following a link.
func (r remembered) file(name string) (*File, error) {
	info, err := r.Lstat(name)
	if err != nil {
		return nil, err
	}
	f := &File{Mode: info.Mode()}
	switch f.Mode.Type() {
	case 0:
		f.Data, err = r.readFile(name, maxKept)
	case fs.ModeSymlink:
		f.Target, err = r.ReadLink(name)
	}
	return f, err
}

// set records that name holds f from now on.
func (o *Overlay) set(name string, f *File) {
	if i := slices.Index(o.order, name); i >= 0 {
		o.order = slices.Delete(o.order, i, i+1)
	}
	o.order = append(o.order, name)
	o.files[name] = f
}

// lstat finds name, which leads through no link, in the overlay or below it.
func (o *Overlay) lstat(op, name string) (fs.FileInfo, error) {
	f, changed := o.files[name]
	switch {
	case !changed && o.inBase(name):
		return o.base.Lstat(name)
	case f == nil:
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return fileInfo{path.Base(name), f}, nil
}

// resolver is the overlay as [resolve] needs it.
type resolver struct{ *Overlay }

func (r resolver) Lstat(name string) (fs.FileInfo, error) { return r.lstat("lstat", name) }

func (r resolver) ReadLink(name string) (string, error) {
	if f := r.files[name]; f != nil {
		return f.Target, nil
	}
	return r.base.ReadLink(name)
}

func (o *Overlay) resolve(op, name string, follow bool) (string, error) {
	return resolve(resolver{o}, op, name, follow)
}

func (o *Overlay) Lstat(name string) (fs.FileInfo, error) {
	name, err := o.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return o.lstat("lstat", name)
}

func (o *Overlay) Stat(name string) (fs.FileInfo, error) {
	name, err := o.resolve("stat", name, true)
	if err != nil {
		return nil, err
	}
	return o.lstat("stat", name)
}

func (o *Overlay) ReadLink(name string) (string, error) {
	name, err := o.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	info, err := o.lstat("readlink", name)
	if err != nil {
		return "", err
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return resolver{o}.ReadLink(name)
}

func (o *Overlay) Open(name string) (fs.File, error) {
	name, err := o.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	info, err := o.lstat("open", name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := o.readDir(name)
		return &openDir{info: info, entries: entries}, err
	}
	if f := o.files[name]; f != nil {
		return &openFile{bytes.NewReader(f.Data), info}, nil
	}
	return o.base.Open(name)
}

func (o *Overlay) readFile(name string, limit int64) ([]byte, error) {
	name, err := o.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	info, err := o.lstat("open", name)
	if err != nil {
		return nil, err
	}
	if o.files[name] == nil {
		return o.base.readFile(name, limit)
	}
	return readKnown(o, name, info, limit)
}

// readDir merges the entries that the base has with those of the overlay.
func (o *Overlay) readDir(dir string) ([]fs.DirEntry, error) {
	var below []fs.DirEntry
	if info, err := o.base.Lstat(dir); err == nil && info.IsDir() && o.inBase(dir) {
		if below, err = fs.ReadDir(o.base, dir); err != nil {
			return nil, err
		}
	}
	var entries []fs.DirEntry
	for _, e := range below {
		if _, changed := o.files[path.Join(dir, e.Name())]; !changed {
			entries = append(entries, e)
		}
	}
	for name, f := range o.files {
		if f != nil && path.Dir(name) == dir {
			entries = append(entries, fs.FileInfoToDirEntry(fileInfo{path.Base(name), f}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// create resolves the name of a file to be made. Its directory must exist, and the
// file must not.
func (o *Overlay) create(op, name string) (string, error) {
	name, err := o.resolve(op, name, false)
	if err != nil {
		return "", err
	}
	if _, err := o.lstat(op, name); err == nil {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	}
	return name, o.checkParent(op, name)
}

func (o *Overlay) checkParent(op, name string) error {
	info, err := o.lstat(op, path.Dir(name))
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return err
}

func (o *Overlay) Mkdir(name string, perm fs.FileMode) error {
	name, err := o.create("mkdir", name)
	if err != nil {
		return err
	}
	o.set(name, &File{Mode: fs.ModeDir | perm.Perm()})
	return nil
}

func (o *Overlay) Symlink(target, name string) error {
	name, err := o.create("symlink", name)
	if err != nil {
		return err
	}
	if o.onFAT(name) {
		return &fs.PathError{Op: "symlink", Path: name, Err: errors.ErrUnsupported}
	}
	o.set(name, &File{Mode: fs.ModeSymlink | 0o777, Target: target})
	return nil
}

func (o *Overlay) WriteFile(name string, data []byte, perm fs.FileMode) error {
	name, err := o.resolve("write", name, true)
	if err != nil {
		return err
	}
	info, err := o.lstat("write", name)
	switch {
	case err == nil && info.IsDir():
		return &fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR}
	case err == nil:
		perm = info.Mode()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := o.checkParent("write", name); err != nil {
		return err
	}
	o.set(name, &File{Mode: perm.Perm(), Data: bytes.Clone(data)})
	return nil
}

func (o *Overlay) Remove(name string) error {
	name, err := o.resolve("remove", name, false)
	if err != nil {
		return err
	}
	info, err := o.lstat("remove", name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := o.readDir(name)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
	}
	o.set(name, nil)
	return nil
}

func (o *Overlay) Chmod(name string, perm fs.FileMode) error {
	name, err := o.resolve("chmod", name, true)
	if err != nil {
		return err
	}
	if _, err := o.lstat("chmod", name); err != nil {
		return err
	}
	if o.onFAT(name) {
		return nil
	}
	if f := o.files[name]; f != nil {
		// Its turn stays: what was made in a new directory comes after it.
		o.files[name] = &File{f.Mode.Type() | perm.Perm(), f.Data, f.Target}
		return nil
	}
	f, err := o.base.file(name)
	if err != nil {
		return err
	}
	o.set(name, &File{f.Mode.Type() | perm.Perm(), f.Data, f.Target})
	return nil
}

// onFAT reports whether name, which leads through no link, is in the boot partition,
// which has no links and keeps no permissions.
func (o *Overlay) onFAT(name string) bool {
	boot, err := BootDir(o)
	return err == nil && (name == boot || strings.HasPrefix(name, boot+"/"))
}

// fileInfo is the [fs.FileInfo] of a File. The overlay keeps no times.
type fileInfo struct {
	name string
	file *File
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return int64(len(i.file.Data) + len(i.file.Target)) }
func (i fileInfo) Mode() fs.FileMode  { return i.file.Mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.file.Mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

type openFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fs.FileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: syscall.EISDIR}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	entries := d.entries[:n]
	d.entries = d.entries[n:]
	return entries, nil
}
