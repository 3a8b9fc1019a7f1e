package diskimage

import (
	"bytes"
	"errors"
	"os"

	"clusterctrl/internal/format/mbr"
)

// A Layout says which zeros of an image become holes in its file.
type Layout int64

const (
	// Sparse leaves out every page of zeros: the file takes the least space.
	Sparse Layout = 4 << 10
	// FewExtents leaves out zeros by the MiB and lets data lie together. It is
	// for the source of many clones where files share blocks: a clone's cost grows
	// with the extents of its source.
	FewExtents Layout = 1 << 20
)

const (
	sectorSize = mbr.SectorSize
	// maxSize is what a partition table of 32-bit sector numbers can describe.
	maxSize = sectorSize << 32
	// pieceSize is how much goes to one file before the next is served: small
	// enough to stay in a core's cache meanwhile.
	pieceSize = int64(FewExtents)
)

// zeros are never written to. They take no memory until they are read.
var zeros [1 << 20]byte

func isZero(p []byte) bool {
	page := zeros[:Sparse] // stays in a core's nearest cache
	for len(p) > len(page) {
		if !bytes.Equal(p[:len(page)], page) {
			return false
		}
		p = p[len(page):]
	}
	return bytes.Equal(p, page[:len(p)])
}

// A writer puts an image into new, empty files, the same into each. Different
// parts of it may be written at the same time; none may be written twice,
// since zeros are not written at all.
type writer struct {
	files  []*os.File
	layout Layout
	count  func(int64) // progress

	allocator allocator // for FewExtents
}

// write writes the image's bytes p, which start at off.
func (w *writer) write(off int64, p []byte) error {
	for len(p) > 0 {
		n := min(int64(len(p)), pieceSize-off%pieceSize)
		if err := w.writePiece(p[:n], off); err != nil {
			return err
		}
		w.count(n)
		off, p = off+n, p[n:]
	}
	return nil
}

// writePiece writes what of p is not to be a hole.
func (w *writer) writePiece(p []byte, off int64) error {
	for len(p) > 0 {
		hole := w.run(p, off, true)
		data := hole + w.run(p[hole:], off+int64(hole), false)
		if err := w.writeAll(p[hole:data], off+int64(hole)); err != nil {
			return err
		}
		p, off = p[data:], off+int64(data)
	}
	return nil
}

// run counts the bytes at the start of p, which lies at off, that make up units
// of the layout of zeros only, or else of units with data.
func (w *writer) run(p []byte, off int64, zero bool) int {
	n := 0
	for n < len(p) {
		unit := int64(w.layout) - (off+int64(n))%int64(w.layout)
		end := min(len(p), n+int(unit))
		if isZero(p[n:end]) != zero {
			break
		}
		n = end
	}
	return n
}

// writeAll writes p, which lies within one region, into every file.
func (w *writer) writeAll(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if w.layout == FewExtents {
		w.allocator.allocate(w.files, off)
	}
	for _, f := range w.files {
		if _, err := f.WriteAt(p, off); err != nil {
			return failedWrite(f, err)
		}
	}
	return nil
}

// finish gives the files the size of the image.
func (w *writer) finish(size int64) error {
	for _, f := range w.files {
		if err := f.Truncate(size); err != nil {
			return failedWrite(f, err)
		}
		if w.layout == FewExtents {
			if err := settle(f, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// A writeError is an output's failure, not the input's.
type writeError struct {
	output string
	err    error
}

func (e *writeError) Error() string { return e.output + ": " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// failedWrite names the output as the user does.
func failedWrite(f *os.File, err error) error {
	if failed, ok := errors.AsType[*writeError](err); ok {
		return failed
	}
	return &writeError{finalName(f.Name()), withoutPath(err)}
}
