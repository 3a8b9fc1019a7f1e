package firstboot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/tree/rootfs"
)

// A partition is the boot partition, not mounted. Each change is on the device
// when its method returns, and was made there in such an order that a power cut
// leaves the old state or the new one. Files are in its root directory.
type partition struct {
	dev  draft
	size int64
	// known is the file system as it is on the device, nil after a change that
	// failed. To open it takes time: the chains of all files are followed.
	known *fat.FS
}

// temporary is a file that is to replace another. In capitals its name needs one
// entry, not two.
func temporary(i int) string { return fmt.Sprintf(temporaryPrefix+"%02d", i) }

const temporaryPrefix = "CLUSTERC.N"

func openPartition(dev device, size int64) (*partition, error) {
	p := &partition{dev: draft{dev, map[int64][]byte{}}, size: size}
	_, err := p.files()
	return p, err
}

// files returns the file system, only to be read.
func (p *partition) files() (fsys *fat.FS, err error) {
	if p.known == nil {
		clear(p.dev.sectors)
		p.known, err = fat.Open(p.dev, p.size)
	}
	return p.known, err
}

func (p *partition) readFile(name string) ([]byte, error) {
	fsys, err := p.files()
	if err != nil {
		return nil, err
	}
	return rootfs.ReadText(fsys, name)
}

// change makes an edit of the file system on the device, in the order that
// order gives to the sectors.
func (p *partition) change(edit func(*fat.FS) error, order func(layout, []sector) [][]sector) error {
	fsys, err := p.files()
	if err != nil {
		return err
	}
	p.known = nil
	where, err := layoutOf(p.dev, fsys)
	if err != nil {
		return err
	}
	if err := errors.Join(edit(fsys), fsys.Close()); err != nil {
		return err
	}
	changed, err := p.dev.changes()
	if err != nil {
		return err
	}
	for _, group := range order(where, changed) {
		if err := p.write(group); err != nil {
			return err
		}
	}
	clear(p.dev.sectors)
	p.known = fsys
	return nil
}

func (p *partition) write(group []sector) error {
	if len(group) == 0 {
		return nil
	}
	for _, s := range group {
		if _, err := p.dev.device.WriteAt(s.new, s.offset); err != nil {
			return err
		}
	}
	if err := p.dev.Sync(); err != nil {
		return err
	}
	return p.check(group)
}

// check reads what was written: a card that is worn out takes it and forgets it.
func (p *partition) check(group []sector) error {
	data := make([]byte, sectorSize)
	for _, s := range group {
		if _, err := p.dev.ReadAt(data, s.offset); err != nil {
			return err
		}
		if !bytes.Equal(data, s.new) {
			return fmt.Errorf("sector at %d of the boot partition: the card does not keep what is written to it", s.offset)
		}
	}
	return nil
}

// writeFile creates a file, or replaces one.
func (p *partition) writeFile(name string, data []byte) error {
	return p.writeFiles(map[string][]byte{name: data})
}

// writeFiles creates files and replaces others. What is new, among it what is to
// replace others, gets to the card at once, which takes its time for each flush;
// then one after another is replaced.
func (p *partition) writeFiles(files map[string][]byte) error {
	if err := p.removeStale(); err != nil {
		return err
	}
	created := map[string][]byte{}
	var replaced []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.Contains(name, "/") {
			return &fs.PathError{Op: "write", Path: name, Err: errors.ErrUnsupported}
		}
		old, err := p.readFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			created[name] = files[name]
		case err != nil:
			return err
		case !bytes.Equal(old, files[name]):
			created[temporary(len(replaced))] = files[name]
			replaced = append(replaced, name)
		}
	}
	if err := p.create(created); err != nil {
		return err
	}
	for i, name := range replaced {
		if err := p.change(func(f *fat.FS) error { return f.Rename(temporary(i), name) }, layout.removing); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes the temporary files of an attempt that was cut short.
func (p *partition) removeStale() error {
	fsys, err := p.files()
	if err != nil {
		return err
	}
	entries, err := fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			if err := p.remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *partition) create(files map[string][]byte) error {
	return p.change(func(f *fat.FS) error {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := f.WriteFile(name, files[name], 0); err != nil {
				return err
			}
		}
		return nil
	}, layout.adding)
}

// remove removes a file.
func (p *partition) remove(name string) error {
	fsys, err := p.files()
	if err != nil {
		return err
	}
	if _, err := fsys.Lstat(name); err != nil {
		return err
	}
	return p.change(func(f *fat.FS) error { return f.Remove(name) }, layout.removing)
}

// overwriteLine replaces the line that is in a file by one write of one sector,
// by filling it up with blanks. Where a sector cannot hold it, or the line is
// longer than the old one, the file is replaced.
func (p *partition) overwriteLine(name, line string) error {
	fsys, err := p.files()
	if err != nil {
		return err
	}
	old, err := rootfs.ReadText(fsys, name)
	if err != nil {
		return err
	}
	if len(old) > sectorSize || len(line) > len(old) {
		return p.writeFile(name, []byte(line))
	}
	where, err := fsys.Extents(name)
	if err != nil {
		return err
	}
	if len(where) == 0 {
		return fmt.Errorf("%s is empty: want one line of kernel arguments", name)
	}
	data := make([]byte, sectorSize)
	if n, err := p.dev.ReadAt(data, where[0].Offset); n < len(data) {
		return fmt.Errorf("%s: %w", name, err)
	}
	copy(data, padLine(line, len(old)))
	if err := p.write([]sector{{offset: where[0].Offset, new: data}}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
