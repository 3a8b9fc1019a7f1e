// Package disk keeps the disks of nodes that have no card. All nodes share a base,
// an image that nothing changes, and each has a file of what it changed, so that
// the disks of 252 nodes take the space of one and of what they write.
//
// No moment of a power cut loses what a node was told to be safe: a block counts as
// changed, in the file, only once its data is on stable storage. A write that was
// not flushed is there or is not, sector by sector. There is one exception: Linux also
// writes to the card between flushes, and lets a program change memory that the card is
// reading, unless the card's queue/stable_writes is set when its file system is mounted.
// So a power cut may leave a mix of two writes to a sector, neither of which was flushed.
package disk

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// A Store is a file of changes, or what a test has in its place.
type Store interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all writes that have returned are on stable storage.
	Sync() error
	// Punch makes a range read as zeros and gives its space back.
	Punch(offset, length int64) error
}

// A Disk is a node's disk: a base and what the node changed. Its methods may be
// called by several goroutines at a time.
type Disk struct {
	base    io.ReaderAt
	changes Store
	header  header

	// A block's bit in here is set from when its data is in the file of changes.
	// It is never cleared.
	here bitmap
	// filling is locked for writing while a part of a block is written whose rest has to
	// come from the base, and when a sync begins and ends; for reading during all other
	// writes.
	filling sync.RWMutex

	// Stretches that were written to since the last sync, and those that the sync under
	// way is for. A write to one of these waits: it would change memory that the card is
	// reading, and the card would get a mix. filling guards both.
	unsynced, syncing bitmap
	synced            *sync.Cond // syncing was cleared

	// fresh has a bit for each part of the map: set, if the part has bits that are not in
	// the file yet.
	fresh bitmap

	flushing sync.Mutex
	saved    bitmap // the map as it is in the file
	failed   error  // of a flush: the data before it may be lost

	read, written atomic.Int64
}

// Open opens a disk from its file of changes and its base.
func Open(changes Store, base io.ReaderAt) (*Disk, error) {
	h, err := readHeader(changes)
	if err != nil {
		return nil, err
	}
	d := &Disk{base: base, changes: changes, header: h, here: newBitmap(h.Size), saved: newBitmap(h.Size)}
	d.unsynced, d.syncing = newStretches(h.Size), newStretches(h.Size)
	d.synced = sync.NewCond(d.filling.RLocker())
	d.fresh = make(bitmap, (mapSize(h.Size)/blockSize+63)/64)
	text := make([]byte, mapSize(h.Size))
	if n, err := changes.ReadAt(text, blockSize); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%w: map: %w", ErrChanges, err)
	} else if n < len(text) {
		return nil, fmt.Errorf("%w: it ends within its map", ErrChanges)
	}
	d.here.decode(text)
	d.saved.decode(text)
	return d, nil
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.header.Size }

// Traffic returns how many bytes were read and written since the disk was opened.
func (d *Disk) Traffic() (read, written int64) { return d.read.Load(), d.written.Load() }

// place is where the data of a disk's byte is in the file of changes.
func (d *Disk) place(offset int64) int64 { return dataStart(d.header.Size) + offset }

var errOutside = errors.New("outside of the disk")

func (d *Disk) check(offset, length int64) error {
	if offset < 0 || length < 0 || offset > d.header.Size-length {
		return fmt.Errorf("%d bytes at %d of %d: %w", length, offset, d.header.Size, errOutside)
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if err := d.check(offset, int64(len(p))); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		n, here := d.alike(at, int64(len(p)-done))
		part := p[done : done+int(n)]
		var err error
		if here {
			err = readFull(d.changes, part, d.place(at))
		} else {
			err = d.readBase(part, at)
		}
		if err != nil {
			return done, err
		}
		done += int(n)
	}
	d.read.Add(int64(done))
	return done, nil
}

// alike returns how many of length bytes from offset on come from one file. here says
// whether that is the file of changes; else it is the base.
func (d *Disk) alike(offset, length int64) (n int64, here bool) {
	block := offset / blockSize
	here = d.here.has(block)
	n = (block+1)*blockSize - offset
	for n < length && d.here.has((offset+n)/blockSize) == here {
		n += blockSize
	}
	return min(n, length), here
}

// readBase reads from the base, which zeros follow.
func (d *Disk) readBase(p []byte, offset int64) error {
	n := max(0, min(int64(len(p)), d.header.Base.Size-offset))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return readFull(d.base, p[:n], offset)
}

// readFull reads all of p. A file of changes may end before its last block, which
// then is zeros.
func readFull(from io.ReaderAt, p []byte, offset int64) error {
	n, err := from.ReadAt(p, offset)
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}

// WriteAt implements [io.WriterAt].
func (d *Disk) WriteAt(p []byte, offset int64) (int, error) {
	if err := d.check(offset, int64(len(p))); err != nil {
		return 0, err
	}
	// Blocks that are covered in part, the first and the last, are written by themselves.
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		n := min(blockSize-at%blockSize, int64(len(p)-done))
		if n == blockSize {
			n = int64(len(p)-done) / blockSize * blockSize
		}
		if err := d.write(p[done:done+int(n)], at); err != nil {
			return done, err
		}
		done += int(n)
	}
	d.written.Add(int64(done))
	return done, nil
}

// write writes whole blocks, or a part of one.
func (d *Disk) write(p []byte, offset int64) error {
	if len(p)%blockSize != 0 && !d.here.has(offset/blockSize) {
		return d.fill(p, offset)
	}
	d.filling.RLock()
	defer d.filling.RUnlock()
	for d.syncing.hasStretch(offset, int64(len(p))) {
		d.synced.Wait()
	}
	d.unsynced.setStretch(offset, int64(len(p)))
	if _, err := d.changes.WriteAt(p, d.place(offset)); err != nil {
		return err
	}
	d.add(offset/blockSize, (int64(len(p))+blockSize-1)/blockSize)
	return nil
}

// fill writes a part of a block that is not here, with the rest of it from the base.
func (d *Disk) fill(p []byte, offset int64) error {
	d.filling.Lock()
	start := offset / blockSize * blockSize
	if d.here.has(start / blockSize) { // another write has filled it meanwhile
		d.filling.Unlock()
		return d.write(p, offset)
	}
	defer d.filling.Unlock()
	block := make([]byte, blockSize)
	if err := d.readBase(block, start); err != nil {
		return err
	}
	copy(block[offset-start:], p)
	d.unsynced.setStretch(start, blockSize)
	if _, err := d.changes.WriteAt(block, d.place(start)); err != nil {
		return err
	}
	d.add(start/blockSize, 1)
	return nil
}

// add notes blocks whose data is in the file of changes.
func (d *Disk) add(first, count int64) {
	for b := first; b < first+count; b++ {
		if d.here.set(b) {
			d.fresh.set(b / blocksPerPart)
		}
	}
}

// Flush puts all that was written on stable storage: first data, then the map that
// leads to it.
func (d *Disk) Flush() error {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if d.failed != nil {
		return d.failed
	}
	if err := d.save(); err != nil {
		d.failed = fmt.Errorf("an earlier flush failed: %w", err)
		return err
	}
	return nil
}

func (d *Disk) save() error {
	var parts []int64 // blocks of the map that change, as they are before the sync
	for part := range d.fresh.take() {
		d.saved.copyPart(d.here, part)
		parts = append(parts, part)
	}
	if err := d.sync(); err != nil || len(parts) == 0 {
		return err
	}
	for _, part := range parts {
		if _, err := d.changes.WriteAt(d.saved.encode(part), blockSize+part*blockSize); err != nil {
			return err
		}
	}
	return d.sync()
}

// sync puts all that was written on stable storage, while writes to other stretches go on.
func (d *Disk) sync() error {
	d.filling.Lock()
	d.unsynced, d.syncing = d.syncing, d.unsynced
	d.filling.Unlock()
	err := d.changes.Sync()
	d.filling.Lock()
	clear(d.syncing)
	d.filling.Unlock()
	d.synced.Broadcast()
	return err
}

// Trim gives the space of whole blocks back. Those of the base have none.
func (d *Disk) Trim(offset, length int64) error {
	if err := d.check(offset, length); err != nil {
		return err
	}
	first, end := roundUp(offset, blockSize), (offset+length)/blockSize*blockSize
	d.filling.RLock()
	defer d.filling.RUnlock()
	for at := first; at < end; {
		n, here := d.alike(at, end-at)
		if here {
			if err := d.changes.Punch(d.place(at), n); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

// Zero makes a range read as zeros, which take no space where they are whole blocks.
func (d *Disk) Zero(offset, length int64) error {
	if err := d.check(offset, length); err != nil {
		return err
	}
	end := offset + length
	first, last := min(roundUp(offset, blockSize), end), end/blockSize*blockSize
	if first >= last {
		return d.writeZeros(offset, length)
	}
	if err := d.writeZeros(offset, first-offset); err != nil {
		return err
	}
	if err := d.zeroBlocks(first, last-first); err != nil {
		return err
	}
	return d.writeZeros(last, end-last)
}

// zeroBlocks makes whole blocks read as zeros. It punches blocks whose bits are not set too,
// since a power cut may have left data there that was never flushed.
func (d *Disk) zeroBlocks(offset, length int64) error {
	d.filling.RLock()
	defer d.filling.RUnlock()
	if err := d.changes.Punch(d.place(offset), length); err != nil {
		return err
	}
	d.add(offset/blockSize, length/blockSize)
	return nil
}

// writeZeros writes less than two blocks of zeros.
func (d *Disk) writeZeros(offset, length int64) error {
	if length == 0 {
		return nil
	}
	_, err := d.WriteAt(make([]byte, length), offset)
	return err
}
