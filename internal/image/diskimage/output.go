package diskimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Existing says what becomes of an output whose name is taken.
type Existing uint8

const (
	Refuse  Existing = iota // it is an error
	Replace                 // the old file goes, when the new one is complete
	Keep                    // the old file stays and no new one is made
)

// Outputs are files of one directory that get their names together. Between
// [Create] and [Outputs.Commit] they are temporary files beside their names.
type Outputs struct {
	Files []*Output // those to be made, in the order of their names
	Kept  []string  // those that exist and stay, under [Keep]

	// Sums are put into the directory's SHA256SUMS when the files get their
	// names, in place of the sums of files that had these names before.
	Sums map[string]Sum // nil for none

	dir      string
	existing Existing
	madeDir  bool // and it is to go again if no file gets its name
}

// An Output is a file that is being made. Its Name method returns its temporary path;
// Final is its path after Commit.
type Output struct {
	*os.File
	Final string // base name
}

// WriteAt is that of the file, but names the output in errors.
func (o *Output) WriteAt(p []byte, off int64) (int, error) {
	n, err := o.File.WriteAt(p, off)
	if err != nil {
		err = failedWrite(o.File, err)
	}
	return n, err
}

// Create opens a temporary file in dir for each of names. It makes dir if the parent
// of dir exists. It removes temporary files that a killed run left in dir, and does not
// touch the files of live runs.
func Create(dir string, existing Existing, names ...string) (_ *Outputs, err error) {
	o := &Outputs{dir: dir, existing: existing}
	if o.madeDir, err = makeDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			o.Abort()
		}
	}()
	wanted, err := o.wanted(names)
	if err != nil {
		return nil, err
	}
	unlock, err := LockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	defer unlock()
	removeStale(dir)
	return o, o.add(wanted)
}

// SetSum notes the sum of a file.
func (o *Outputs) SetSum(name string, sum Sum) {
	if o.Sums == nil {
		o.Sums = map[string]Sum{}
	}
	o.Sums[name] = sum
}

// add opens temporary files. The caller holds the directory's lock.
func (o *Outputs) add(names []string) error {
	for _, name := range names {
		f, err := createTemp(o.dir, name)
		if err != nil {
			return fmt.Errorf("%s: %w", o.dir, withoutPath(err))
		}
		o.Files = append(o.Files, &Output{f, name})
	}
	return nil
}

// SetNames gives the outputs other names than those they were created for, in
// the same order. Files that are not needed any more go, from the last; those
// that are missing are opened.
func (o *Outputs) SetNames(names ...string) error {
	wanted, err := o.wanted(names)
	if err != nil {
		return err
	}
	n := min(len(wanted), len(o.Files))
	drop(o.Files[n:])
	o.Files = o.Files[:n]
	for i, f := range o.Files {
		f.Final = wanted[i]
	}
	unlock, err := LockDir(o.dir)
	if err != nil {
		return fmt.Errorf("%s: %w", o.dir, err)
	}
	defer unlock()
	return o.add(wanted[n:])
}

// wanted returns the names to be made and notes those to be kept.
func (o *Outputs) wanted(names []string) ([]string, error) {
	var wanted, taken []string
	for _, name := range names {
		if slices.Contains(wanted, name) || slices.Contains(taken, name) {
			return nil, fmt.Errorf("%s: two outputs of this name", name)
		}
		there, err := os.Lstat(filepath.Join(o.dir, name))
		switch {
		case err == nil && there.IsDir(): // which no rename replaces
			return nil, fmt.Errorf("%s is a directory: want it out of the way", filepath.Join(o.dir, name))
		case err == nil && o.existing != Replace:
			taken = append(taken, name)
		case err == nil || errors.Is(err, fs.ErrNotExist):
			wanted = append(wanted, name)
		default:
			return nil, err
		}
	}
	if o.existing == Refuse && len(taken) > 0 {
		return nil, fmt.Errorf("%s: %s: %w", o.dir, few(taken), fs.ErrExist)
	}
	o.Kept = taken
	return wanted, nil
}

// few lists names, of many only the first.
func few(names []string) string {
	const most = 3
	if more := len(names) - most; more > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// makeDir makes an output directory, if it is not there. Its errors are in words for
// users.
func makeDir(dir string) (made bool, err error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = os.Mkdir(dir, 0o777); errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("%s: no such directory, and none to make it in; create it or name another", dir)
		}
		return err == nil, err
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, fmt.Errorf("%s: not a directory", dir)
	}
	return false, nil
}

// withoutPath strips the path of a temporary file, which tells a user nothing.
func withoutPath(err error) error {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return perr.Err
	}
	return err
}

// Commit flushes the files to the disk, then gives each its name and closes it.
// If a name was taken meanwhile, nothing is named, unless [Replace] was asked for.
func (o *Outputs) Commit() error {
	defer o.Abort()
	if err := o.Flush(); err != nil {
		return err
	}
	unlock, err := LockDir(o.dir)
	if err != nil {
		return fmt.Errorf("%s: %w", o.dir, err)
	}
	defer unlock()
	for i, f := range o.Files {
		if err := o.name(f); err != nil {
			o.unname(o.Files[:i])
			return err
		}
	}
	if err := writeSums(o.dir, o.Files, o.Sums); err != nil {
		o.unname(o.Files)
		return err
	}
	o.madeDir = false
	return syncDir(o.dir)
}

// manyFiles is the number of files from which on flushing the whole file system is
// faster than flushing one file after the other: 0.1 s instead of 2 to 5 s for 252
// clones. A few files are flushed alone, without waiting for other programs' data.
const manyFiles = 16

// Flush waits until the files' data is on the disk. Commit does that itself;
// a caller may have it done while there is other work.
func (o *Outputs) Flush() error {
	if len(o.Files) >= manyFiles {
		err := syncFileSystem(o.Files[0].File)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err // or nil
		}
	}
	for _, f := range o.Files {
		if err := f.Sync(); err != nil {
			return failedWrite(f.File, err)
		}
	}
	return nil
}

// name gives f its final name; under [Refuse] and [Keep] only if no file has it.
func (o *Outputs) name(f *Output) error {
	final := filepath.Join(o.dir, f.Final)
	if o.existing == Replace {
		return rename(f.File, final)
	}
	err := os.Link(f.Name(), final)
	if err == nil {
		return nil
	}
	// FAT, and what cameras and cards are formatted with, has no links.
	if _, staterr := os.Lstat(final); staterr == nil {
		return fmt.Errorf("%s: %w", final, fs.ErrExist)
	}
	return rename(f.File, final)
}

// rename closes f first: Windows does not rename open files.
func rename(f *os.File, final string) error {
	return errors.Join(f.Close(), os.Rename(f.Name(), final))
}

// unname takes back the names given, so that a set is never half there. What
// [Replace] replaced cannot be had back; there the complete files stay.
func (o *Outputs) unname(files []*Output) {
	if o.existing == Replace {
		return
	}
	for _, f := range files {
		os.Remove(filepath.Join(o.dir, f.Final))
	}
}

// Abort closes and removes the temporary files, and the directory if Create made it.
// After Commit it does nothing, so it may be deferred.
func (o *Outputs) Abort() {
	drop(o.Files)
	o.Files = nil
	if o.madeDir {
		os.Remove(o.dir) // fails if another program has put something there
	}
}

func drop(files []*Output) {
	for _, f := range files {
		f.Close()
		os.Remove(f.Name()) // gone already if it was renamed
	}
}
