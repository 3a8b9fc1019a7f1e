package fat

import "iter"

// An Extent is a range of bytes on the device.
type Extent struct{ Offset, Length int64 }

// Extents returns where the clusters of a file or directory lie, in order.
// Together they may be longer than the file: they end with its last cluster.
// FAT16's root directory has none.
func (fsys *FS) Extents(name string) ([]Extent, error) {
	e, err := fsys.lookup(name)
	if err != nil {
		return nil, pathError("extents", name, err)
	}
	var chain []uint32
	if e.isDir() {
		d, err := fsys.enter(e)
		if err != nil {
			return nil, pathError("extents", name, err)
		}
		chain = d.chain
	} else if chain, err = fsys.chain(e); err != nil {
		return nil, pathError("extents", name, err)
	}
	var extents []Extent
	for _, c := range chain {
		start := fsys.table.clusterStart(c)
		if n := len(extents); n > 0 && extents[n-1].Offset+extents[n-1].Length == start {
			extents[n-1].Length += int64(fsys.table.clusterSize)
		} else {
			extents = append(extents, Extent{start, int64(fsys.table.clusterSize)})
		}
	}
	return extents, nil
}

// FreeExtents yields the ranges of unused clusters, in the order of the device.
// Their content is of no use. It stops at an error.
func (fsys *FS) FreeExtents() iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var x Extent
		for c, err := range fsys.table.all() {
			switch {
			case err != nil:
				yield(Extent{}, err)
				return
			case fsys.table.at(c) == free:
				if x.Length == 0 {
					x.Offset = fsys.table.clusterStart(c)
				}
				x.Length += int64(fsys.table.clusterSize)
			case x.Length > 0:
				if !yield(x, nil) {
					return
				}
				x = Extent{}
			}
		}
		if x.Length > 0 {
			yield(x, nil)
		}
	}
}
