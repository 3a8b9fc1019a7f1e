package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// A Volume is a file system whose device may lose its power at any time, as an SD card
// does. Each change is on the device when its method returns, and was made there in
// such an order of sectors that a power cut leaves the old state or the new one: FAT
// has no journal. Files are in the root directory.
//
// The device writes a sector whole or not at all.
type Volume struct {
	dev  draft
	size int64
	// known is the file system as it is on the device, nil after a change that
	// failed. To open it takes time: the chains of all files are followed.
	known *FS
}

// A SyncDevice is a partition, or an image of one. What has been written is safe
// from a power cut once Sync returns.
type SyncDevice interface {
	Device
	Sync() error
}

// TemporaryPrefix begins the names of files that are to replace others. Those that a
// power cut leaves are removed by the next write. In capitals such a name needs one
// entry, not two.
const TemporaryPrefix = "CLUSTERC.N"

func temporary(i int) string { return fmt.Sprintf(TemporaryPrefix+"%02d", i) }

// OpenVolume opens the file system on a device of size bytes.
func OpenVolume(dev SyncDevice, size int64) (*Volume, error) {
	v := &Volume{dev: draft{dev, map[int64][]byte{}}, size: size}
	_, err := v.FS()
	return v, err
}

// FS returns the file system as it is on the device, to be read only.
func (v *Volume) FS() (fsys *FS, err error) {
	if v.known == nil {
		clear(v.dev.sectors)
		v.known, err = Open(v.dev, v.size)
	}
	return v.known, err
}

// change makes an edit of the file system on the device, in the order that
// order gives to the sectors.
func (v *Volume) change(edit func(*FS) error, order func(layout, []sectorChange) [][]sectorChange) error {
	fsys, err := v.FS()
	if err != nil {
		return err
	}
	v.known = nil
	where, err := fsys.layout()
	if err != nil {
		return err
	}
	if err := errors.Join(edit(fsys), fsys.Close()); err != nil {
		return err
	}
	changed, err := v.dev.changes()
	if err != nil {
		return err
	}
	for _, group := range order(where, changed) {
		if err := v.write(group); err != nil {
			return err
		}
	}
	clear(v.dev.sectors)
	v.known = fsys
	return nil
}

func (v *Volume) write(group []sectorChange) error {
	if len(group) == 0 {
		return nil
	}
	for _, s := range group {
		if _, err := v.dev.SyncDevice.WriteAt(s.new, s.offset); err != nil {
			return err
		}
	}
	if err := v.dev.Sync(); err != nil {
		return err
	}
	return v.check(group)
}

// check reads written data back: a worn-out card may accept data and lose it.
func (v *Volume) check(group []sectorChange) error {
	data := make([]byte, sectorSize)
	for _, s := range group {
		if _, err := v.dev.ReadAt(data, s.offset); err != nil {
			return err
		}
		if !bytes.Equal(data, s.new) {
			return fmt.Errorf("sector at %d of the FAT file system: the card does not keep what is written to it", s.offset)
		}
	}
	return nil
}

// WriteFile creates a file, or replaces one.
func (v *Volume) WriteFile(name string, data []byte) error {
	return v.WriteFiles(map[string][]byte{name: data})
}

// WriteFiles creates files and replaces others. All new content is written first, with
// few flushes, since a card takes its time for each; then one file after another is
// replaced.
func (v *Volume) WriteFiles(files map[string][]byte) error {
	if err := v.removeStale(); err != nil {
		return err
	}
	created := map[string][]byte{}
	var replaced []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.Contains(name, "/") {
			return &fs.PathError{Op: "write", Path: name, Err: errors.ErrUnsupported}
		}
		same, err := v.holds(name, files[name])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			created[name] = files[name]
		case err != nil:
			return err
		case !same:
			created[temporary(len(replaced))] = files[name]
			replaced = append(replaced, name)
		}
	}
	if err := v.create(created); err != nil {
		return err
	}
	for i, name := range replaced {
		if err := v.change(func(f *FS) error { return f.Rename(temporary(i), name) }, layout.removing); err != nil {
			return err
		}
	}
	return nil
}

// holds reports whether a file holds data. It reads none of another size, which may
// be larger than the memory.
func (v *Volume) holds(name string, data []byte) (bool, error) {
	fsys, err := v.FS()
	if err != nil {
		return false, err
	}
	info, err := fsys.Lstat(name)
	if err != nil || info.Size() != int64(len(data)) {
		return false, err
	}
	old, err := fsys.ReadFile(name)
	return bytes.Equal(old, data), err
}

// removeStale removes the temporary files of an attempt that was cut short.
func (v *Volume) removeStale() error {
	fsys, err := v.FS()
	if err != nil {
		return err
	}
	entries, err := fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TemporaryPrefix) {
			if err := v.Remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *Volume) create(files map[string][]byte) error {
	return v.change(func(f *FS) error {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := f.WriteFile(name, files[name], 0); err != nil {
				return err
			}
		}
		return nil
	}, layout.adding)
}

// Remove removes a file.
func (v *Volume) Remove(name string) error {
	fsys, err := v.FS()
	if err != nil {
		return err
	}
	if _, err := fsys.Lstat(name); err != nil {
		return err
	}
	return v.change(func(f *FS) error { return f.Remove(name) }, layout.removing)
}

// OverwriteLine replaces the line that is in a file by one write of one sector,
// by filling it up with blanks. Where a sector cannot hold it, or the line is
// longer than the old one, the file is replaced.
func (v *Volume) OverwriteLine(name, line string) error {
	fsys, err := v.FS()
	if err != nil {
		return err
	}
	info, err := fsys.Lstat(name)
	if err != nil {
		return err
	}
	old := int(info.Size())
	if old > sectorSize || len(line) > old {
		return v.WriteFile(name, []byte(line))
	}
	where, err := fsys.Extents(name)
	if err != nil {
		return err
	}
	if len(where) == 0 {
		return fmt.Errorf("%s is empty: want a line", name)
	}
	data := make([]byte, sectorSize)
	if n, err := v.dev.ReadAt(data, where[0].Offset); n < len(data) {
		return fmt.Errorf("%s: %w", name, err)
	}
	copy(data, padLine(line, old))
	if err := v.write([]sectorChange{{offset: where[0].Offset, new: data}}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// padLine makes a line n bytes long, by blanks at its end.
func padLine(line string, n int) string {
	body := strings.TrimSuffix(line, "\n")
	if len(line) >= n {
		return line
	}
	return body + strings.Repeat(" ", n-len(body)-1) + "\n"
}
