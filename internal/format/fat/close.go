package fat

import (
	"fmt"
	"maps"
	"slices"
)

// Close writes all changes to the device. The order is such that nothing on the device
// leads to a part that is not there yet: content, file allocation tables, then
// directories from the deepest up. The FS is then as if newly opened; but if Close fails,
// the FS must not be used any more.
func (fsys *FS) Close() error {
	if err := fsys.closeContent(); err != nil {
		return err
	}
	if err := fsys.closeTable(); err != nil {
		return err
	}
	if err := fsys.closeDirectory(fsys.root); err != nil {
		return err
	}
	clear(fsys.pending)
	clear(fsys.table.changed)
	fsys.table.taken = 0
	return nil
}

// closeContent writes the content of files, neighbouring clusters together.
func (fsys *FS) closeContent() error {
	const most = 1 << 20 // bytes in one write
	var run []byte
	clusters := slices.Sorted(maps.Keys(fsys.pending))
	for i, c := range clusters {
		run = append(run, fsys.pending[c]...)
		end := fsys.table.clusterStart(c) + int64(len(fsys.pending[c]))
		if i+1 < len(clusters) && fsys.table.clusterStart(clusters[i+1]) == end && len(run) < most {
			continue
		}
		if _, err := fsys.dev.WriteAt(run, end-int64(len(run))); err != nil {
			return fmt.Errorf("clusters up to %d: %w", c, err)
		}
		run = run[:0]
	}
	return nil
}

func (fsys *FS) closeTable() error {
	t := fsys.table
	if len(t.changed) == 0 {
		return nil
	}
	if err := t.write(fsys.dev); err != nil {
		return err
	}
	if fsys.summary == nil {
		return nil
	}
	if err := fsys.summary.update(t); err != nil {
		return err
	}
	return fsys.summary.write(fsys.dev, t.geometry)
}

// closeDirectory writes a directory if it has changed, and before it all those
// below.
func (fsys *FS) closeDirectory(d *directory) error {
	for _, e := range d.entries {
		if e.dir == nil {
			continue
		}
		if err := fsys.closeDirectory(e.dir); err != nil {
			return err
		}
	}
	if !d.changed {
		return nil
	}
	if err := fsys.writeDirectory(d); err != nil {
		return err
	}
	d.changed = false
	return nil
}

func (fsys *FS) writeDirectory(d *directory) error {
	if d.chain == nil {
		if _, err := fsys.dev.WriteAt(d.raw, fsys.table.rootStart); err != nil {
			return fmt.Errorf("root directory: %w", err)
		}
		return nil
	}
	size := fsys.table.clusterSize
	for i, c := range d.chain {
		if _, err := fsys.dev.WriteAt(d.raw[i*size:][:size], fsys.table.clusterStart(c)); err != nil {
			return fmt.Errorf("directory %s: %w", d.self.name, err)
		}
	}
	return nil
}
