package diskimage

import (
	"os"
	"sync"
)

// regionSize is how much of a file is allocated at a time, so that it lies
// together. A region that has no data never is. btrfs gives back an allocation
// only whole: with larger regions, more is lost to large holes.
const regionSize = 64 << 20

// smallHole is the size below which a hole is filled: as much as a disk reads
// in about the time of a seek.
const smallHole = int64(FewExtents)

// An allocator allocates the space of files by regions.
type allocator struct {
	mu   sync.Mutex
	done map[int64]bool // by number of region
}

// allocate allocates the region that off lies in, once. Where that fails, the
// file system does as it likes, and a full disk shows when there is data to write.
func (a *allocator) allocate(files []*os.File, off int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	region := off / regionSize
	if a.done[region] {
		return
	}
	if a.done == nil {
		a.done = map[int64]bool{}
	}
	a.done[region] = true
	for _, f := range files {
		_ = allocate(f, segment{region * regionSize, (region + 1) * regionSize})
	}
}

// settle fills f's small holes, and gives back what was allocated for larger
// ones and behind its end.
func settle(f *os.File, size int64) error {
	end := int64(0) // of the data before
	for data, err := range segments(f, segment{0, size}) {
		if err == nil {
			err = settleHole(f, segment{end, data.start})
		}
		if err != nil {
			return failedWrite(f, err)
		}
		end = data.end
	}
	if err := punch(f, segment{end, size + regionSize}); err != nil {
		return failedWrite(f, err)
	}
	return nil
}

func settleHole(f *os.File, hole segment) error {
	if n := hole.end - hole.start; n < smallHole {
		_, err := f.WriteAt(zeros[:n], hole.start)
		return err
	}
	return punch(f, hole)
}
