package card

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"sync"
)

// A Job is a card to be written.
type Job struct {
	Name   string // of what it becomes, such as "p7"; may be empty
	Disk   Disk
	Device Device // the disk, open
	Image  Image
	Ranges []Range // of the image, in order: what is written
}

// A Phase is a step of the work on a card.
type Phase string

const (
	Writing   Phase = "write"
	Verifying Phase = "verify"
)

// Options say how cards are written.
type Options struct {
	NoVerify bool // do not read back what was written
	Discard  bool // first have the card forget all that is on it, if it can

	// Progress starts to show a phase of total bytes; may be nil.
	Progress func(job Job, phase Phase, total int64) io.WriteCloser
}

// A Result is what became of a card.
type Result struct {
	Name     string `json:"role"`
	Disk     Disk   `json:"disk"`
	Written  int64  `json:"written"`  // bytes
	Verified bool   `json:"verified"` // what was written was read back
	// Digest is the [Digest] of the written ranges.
	Digest string `json:"digest"`
	Note   string `json:"note"` // advice about a good card
	Err    error  `json:"-"`
}

const (
	// chunkSize is how much is written at a time: the unit in which most cards erase.
	chunkSize = 4 << 20
	// buffers is how many chunks of a card are in memory: one is read while the
	// other is written.
	buffers = 2
	// headSize is how much is written last, in bytes: the page with the first sector.
	headSize = 4 << 10
)

// Write writes all jobs at the same time and closes their devices. A slow or bad card
// does not affect the others.
func Write(ctx context.Context, jobs []Job, o Options) []Result {
	results := make([]Result, len(jobs))
	var all sync.WaitGroup
	for i, job := range jobs {
		all.Go(func() {
			w := writing{Job: job, Options: o, digest: sha256.New()}
			err := w.run(ctx)
			err = errors.Join(err, job.Device.Close())
			results[i] = w.result(ctx, err)
		})
	}
	all.Wait()
	return results
}

// A writing is a job that is being done.
type writing struct {
	Job
	Options
	buffers [buffers][]byte
	head    []byte   // of the image, with the first sector
	sums    []uint32 // of each chunk, as it was written
	digest  hash.Hash
	written int64
	checked bool
	note    string
}

func (w *writing) run(ctx context.Context) error {
	for i := range w.buffers {
		w.buffers[i] = alignedBuffer(chunkSize)
	}
	if w.Discard {
		if err := w.Device.Discard(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("discard: %w", err)
		}
	}
	if err := w.wipe(); err != nil {
		return err
	}
	if err := w.write(ctx); err != nil {
		return err
	}
	if err := w.Device.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if !w.NoVerify {
		if err := w.verify(ctx); err != nil {
			return err
		}
		w.checked = true
	}
	if err := w.finish(); err != nil {
		return errors.Join(err, w.wipe())
	}
	return nil
}

// result says what became of the card, err being what stopped the work.
func (w *writing) result(ctx context.Context, err error) Result {
	r := Result{Name: w.Name, Disk: w.Disk, Written: w.written, Verified: w.checked, Note: w.note}
	switch {
	case err == nil:
		r.Digest = hex.EncodeToString(w.digest.Sum(nil))
	case ctx.Err() != nil:
		r.Err = fmt.Errorf("%s: not finished, it has no partitions now: %w", w.Disk.Path, context.Cause(ctx))
	case w.Device.Gone():
		r.Err = fmt.Errorf("%s: was taken out, unfinished", w.Disk.Path)
	default:
		r.Err = fmt.Errorf("%s: %w", w.Disk.Path, err)
	}
	r.Verified = r.Verified && r.Err == nil
	return r
}

// wipe destroys the partition table, and the copy at the end of a disk that has a
// GUID partition table, before anything else is written.
func (w *writing) wipe() error {
	head := w.buffers[0][:min(headSize, w.Image.Size())]
	clear(head)
	if _, err := w.Device.WriteAt(head, 0); err != nil {
		return fmt.Errorf("write at byte 0: %w", bare(err))
	}
	if err := w.wipeCopy(); err != nil {
		return err
	}
	if err := w.Device.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// wipeCopy destroys the header of a GUID partition table at the end of the disk
// (UEFI specification, section 5.3.2).
func (w *writing) wipeCopy() error {
	last := w.Disk.Size/SectorSize*SectorSize - SectorSize
	if last < w.Image.Size() {
		return nil // the image lies over it
	}
	sector := w.buffers[0][:SectorSize]
	if _, err := w.Device.ReadAt(sector, last); err != nil {
		return fmt.Errorf("read at byte %d: %w", last, bare(err))
	}
	if !bytes.HasPrefix(sector, []byte("EFI PART")) {
		return nil
	}
	clear(sector)
	if _, err := w.Device.WriteAt(sector, last); err != nil {
		return fmt.Errorf("write at byte %d: %w", last, bare(err))
	}
	return nil
}

// write writes all but the first sector, in order.
func (w *writing) write(ctx context.Context) error {
	show := w.start(Writing)
	defer show.Close()
	return w.pass(ctx, w.fill, func(p []byte, off int64) error {
		if _, err := w.Device.WriteAt(p, off); err != nil {
			return fmt.Errorf("write at byte %d: %w", off, bare(err))
		}
		w.written += int64(len(p))
		show.Write(p)
		return nil
	})
}

// bare takes the path out of an error, which says it once already.
func bare(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fill reads a chunk of the image, without the first sector.
func (w *writing) fill(p []byte, off int64) error {
	if n, err := w.Image.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("the image at byte %d: %w", off, err)
	}
	sum := crc32.Checksum(p, castagnoli)
	addDigest(w.digest, off, len(p), sum)
	if off == 0 {
		w.head = alignedBuffer(min(headSize, len(p)))
		copy(w.head, p)
		clear(p[:SectorSize])
		sum = crc32.Checksum(p, castagnoli)
	}
	w.sums = append(w.sums, sum)
	return nil
}

// verify reads back what was written.
func (w *writing) verify(ctx context.Context) error {
	show := w.start(Verifying)
	defer show.Close()
	chunk := 0
	return w.pass(ctx, w.readBack, func(p []byte, off int64) error {
		if crc32.Checksum(p, castagnoli) != w.sums[chunk] {
			return fmt.Errorf("bytes %d to %d are not what was written there: the card or its reader is broken", off, off+int64(len(p))-1)
		}
		chunk++
		show.Write(p)
		return nil
	})
}

func (w *writing) readBack(p []byte, off int64) error {
	if n, err := w.Device.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("read at byte %d: %w", off, bare(err))
	}
	return nil
}

// finish writes the first sector, which makes the card bootable.
func (w *writing) finish() error {
	if _, err := w.Device.WriteAt(w.head, 0); err != nil {
		return fmt.Errorf("write at byte 0: %w", bare(err))
	}
	if err := w.Device.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if !w.NoVerify {
		p := w.buffers[0][:len(w.head)]
		if err := w.readBack(p, 0); err != nil {
			return err
		}
		if !bytes.Equal(p, w.head) {
			return errors.New("the partition table is not what was written: the card or its reader is broken")
		}
	}
	if err := w.Device.Finish(); err != nil {
		w.note = fmt.Sprintf("%v: take the card out and in again before you use it here", err)
	}
	return nil
}

func (w *writing) start(phase Phase) io.WriteCloser {
	if w.Progress == nil {
		return nothing{}
	}
	return w.Progress(w.Job, phase, Total(w.Ranges))
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Close() error                { return nil }

// A chunk is a part of a card, in a buffer.
type chunk struct {
	p   []byte
	off int64
	err error
}

// pass has fill put one chunk after the other into a buffer while use works on the
// one before.
func (w *writing) pass(ctx context.Context, fill, use func(p []byte, off int64) error) error {
	inner, cancel := context.WithCancel(ctx)
	free, full := make(chan []byte, buffers), make(chan chunk, buffers)
	for _, b := range w.buffers {
		free <- b
	}
	go func() {
		defer close(full)
		for off, n := range chunks(w.Ranges) {
			select {
			case <-inner.Done():
				return
			case b := <-free:
				err := fill(b[:n], off)
				full <- chunk{b[:n], off, err} // never blocks: there is room for every buffer
				if err != nil {
					return
				}
			}
		}
	}()
	defer func() {
		cancel()
		for range full { // until fill has stopped and the buffers are free
		}
	}()
	for c := range full {
		if c.err == nil {
			c.err = use(c.p, c.off)
		}
		if c.err != nil {
			return c.err
		}
		free <- c.p[:cap(c.p)]
	}
	return context.Cause(ctx)
}

// chunks walks ranges in pieces that do not cross multiples of their size.
func chunks(ranges []Range) iter.Seq2[int64, int64] {
	return func(yield func(off, n int64) bool) {
		for _, r := range ranges {
			for off := r.Start; off < r.End; {
				n := min(chunkSize-off%chunkSize, r.End-off)
				if !yield(off, n) {
					return
				}
				off += n
			}
		}
	}
}

// Digest returns a SHA-256 over the places and checksums of the chunks of an image that
// ranges name, at the cost of reading them. It tells different images apart, but is no
// proof against an attacker, since the checksums are CRCs.
func Digest(ctx context.Context, image Image, ranges []Range) (string, error) {
	digest, p := sha256.New(), make([]byte, chunkSize)
	for off, n := range chunks(ranges) {
		if err := context.Cause(ctx); err != nil {
			return "", err
		}
		if k, err := image.ReadAt(p[:n], off); int64(k) < n {
			return "", fmt.Errorf("the image at byte %d: %w", off, err)
		}
		addDigest(digest, off, int(n), crc32.Checksum(p[:n], castagnoli))
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// addDigest adds a chunk: its place and its CRC-32C.
func addDigest(digest hash.Hash, off int64, n int, sum uint32) {
	var record [20]byte
	binary.LittleEndian.PutUint64(record[:], uint64(off))
	binary.LittleEndian.PutUint64(record[8:], uint64(n))
	binary.LittleEndian.PutUint32(record[16:], sum)
	digest.Write(record[:])
}
