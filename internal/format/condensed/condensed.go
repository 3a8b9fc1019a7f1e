// Package condensed keeps a disk image without the blocks that it has no use for, such as
// the free space of its file systems, so that it can be read at any place: those blocks
// read as zeros. It is for an image that lies on another disk and is used there as it is.
//
//	0     header, one block
//	4096  table: the image's runs of blocks that are kept, 8 bytes each, padded to a block
//	data  their blocks, one after the other
//
// All numbers are little-endian.
package condensed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// BlockSize is the size of a block in bytes.
const BlockSize = 4096

const (
	magic   = "condensed image\n"
	version = 1
	maxNote = 3 << 10
	maxRuns = 4 << 20 // of 8 bytes, which are read into memory
)

// A Run is blocks of an image that follow each other.
type Run struct{ First, Count uint32 }

// A header is the first block, its checksum last.
type header struct {
	Magic      [16]byte
	Version    uint32
	Block      uint32
	Size       int64             // of the image, in bytes
	Sum        [sha256.Size]byte // of the image, as it reads
	Runs       uint32
	TableCheck uint32 // CRC-32 (IEEE) of the table
	NoteSize   uint32
	Note       [maxNote]byte
	Check      uint32 // CRC-32 (IEEE) of what is before it
}

// ErrNone says that there is no condensed image, ErrCorrupt that it is damaged.
var (
	ErrNone    = errors.New("no condensed image")
	ErrCorrupt = errors.New("condensed image is damaged")
)

func dataStart(runs int) int64 {
	table := int64(runs) * 8
	return BlockSize + (table+BlockSize-1)/BlockSize*BlockSize
}

// Size returns how many bytes an image takes of which runs are kept.
func Size(runs []Run) int64 {
	size := dataStart(len(runs))
	for _, r := range runs {
		size += int64(r.Count) * BlockSize
	}
	return size
}

// check reports runs that are not in order, or not within an image of size bytes.
func check(runs []Run, size int64) error {
	blocks, end := uint64(size+BlockSize-1)/BlockSize, uint64(0)
	for i, r := range runs {
		if r.Count == 0 || uint64(r.First) < end || uint64(r.First)+uint64(r.Count) > blocks {
			return fmt.Errorf("run %d: %d blocks from %d on, want them behind %d and within %d", i, r.Count, r.First, end, blocks)
		}
		end = uint64(r.First) + uint64(r.Count)
	}
	return nil
}

// An Image is what Write condenses.
type Image struct {
	Content io.ReaderAt
	Size    int64  // in bytes
	Runs    []Run  // the blocks that are kept, in order
	Note    []byte // what is to be known of the image, at most 3 KiB
}

// Write writes an image, its header last. Progress is told of the blocks that are kept.
func Write(to io.WriterAt, image Image, progress io.Writer) error {
	if err := check(image.Runs, image.Size); err != nil {
		return err
	}
	if len(image.Note) > maxNote || len(image.Runs) > maxRuns {
		return fmt.Errorf("a note of %d bytes and %d runs: want at most %d and %d", len(image.Note), len(image.Runs), maxNote, maxRuns)
	}
	table := make([]byte, 0, len(image.Runs)*8)
	for _, r := range image.Runs {
		table = binary.LittleEndian.AppendUint32(table, r.First)
		table = binary.LittleEndian.AppendUint32(table, r.Count)
	}
	sum, err := writeData(io.NewOffsetWriter(to, dataStart(len(image.Runs))), image, progress)
	if err != nil {
		return err
	}
	if _, err := to.WriteAt(table, BlockSize); err != nil {
		return err
	}
	h := header{
		Version: version, Block: BlockSize, Size: image.Size, Sum: sum,
		Runs: uint32(len(image.Runs)), TableCheck: crc32.ChecksumIEEE(table), NoteSize: uint32(len(image.Note)),
	}
	copy(h.Magic[:], magic)
	copy(h.Note[:], image.Note)
	text, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(text[len(text)-4:], crc32.ChecksumIEEE(text[:len(text)-4]))
	_, err = to.WriteAt(text, 0)
	return err
}

// writeData writes the blocks that are kept, and returns the SHA-256 of the whole image.
func writeData(to io.Writer, image Image, progress io.Writer) (sum [sha256.Size]byte, err error) {
	hash, buf := sha256.New(), make([]byte, 256*BlockSize)
	zeros := make([]byte, len(buf))
	at := int64(0)
	skip := func(end int64) {
		for at < end {
			n := min(end-at, int64(len(zeros)))
			hash.Write(zeros[:n])
			at += n
		}
	}
	for _, r := range image.Runs {
		skip(int64(r.First) * BlockSize)
		end := at + int64(r.Count)*BlockSize
		for at < end {
			part := buf[:min(end-at, int64(len(buf)))]
			n, err := image.Content.ReadAt(part, at)
			if err != nil && !(err == io.EOF && at+int64(n) >= image.Size) {
				return sum, err
			}
			clear(part[n:]) // behind the image's end
			hash.Write(part[:min(int64(len(part)), image.Size-at)])
			if _, err := to.Write(part); err != nil {
				return sum, err
			}
			if _, err := progress.Write(part); err != nil {
				return sum, err
			}
			at += int64(len(part))
		}
	}
	skip(image.Size)
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// A Reader reads a condensed image. Its methods may be called by several goroutines at a
// time.
type Reader struct {
	Sum  [sha256.Size]byte // of the image, as it reads
	Note []byte

	from   io.ReaderAt
	size   int64
	runs   []Run
	places []int64 // of the blocks of each run, in bytes
}

// Open opens the condensed image at the start of a partition of size bytes. Its error
// wraps [ErrNone] or [ErrCorrupt], or is one of reading.
func Open(from io.ReaderAt, size int64) (*Reader, error) {
	text := make([]byte, binary.Size(header{}))
	if _, err := from.ReadAt(text, 0); err == io.EOF {
		return nil, ErrNone
	} else if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte(magic)) {
		return nil, ErrNone
	}
	var h header
	if _, err := binary.Decode(text, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	switch {
	case h.Check != crc32.ChecksumIEEE(text[:len(text)-4]):
		return nil, fmt.Errorf("%w: header", ErrCorrupt)
	case h.Version != version || h.Block != BlockSize || h.Size < 0 || h.NoteSize > maxNote || h.Runs > maxRuns:
		return nil, fmt.Errorf("%w: version %d, %d bytes in blocks of %d, %d runs, a note of %d bytes", ErrCorrupt, h.Version, h.Size, h.Block, h.Runs, h.NoteSize)
	}
	r := &Reader{Sum: h.Sum, Note: h.Note[:h.NoteSize], from: from, size: h.Size}
	return r, r.readTable(h, size)
}

func (r *Reader) readTable(h header, size int64) error {
	if dataStart(int(h.Runs)) > size {
		return fmt.Errorf("%w: %d runs in %d bytes", ErrCorrupt, h.Runs, size)
	}
	table := make([]byte, int(h.Runs)*8)
	if _, err := r.from.ReadAt(table, BlockSize); err != nil && len(table) > 0 {
		return err
	}
	if crc32.ChecksumIEEE(table) != h.TableCheck {
		return fmt.Errorf("%w: table", ErrCorrupt)
	}
	place := dataStart(int(h.Runs))
	for pair := range slices.Chunk(table, 8) {
		run := Run{binary.LittleEndian.Uint32(pair), binary.LittleEndian.Uint32(pair[4:])}
		r.runs, r.places = append(r.runs, run), append(r.places, place)
		place += int64(run.Count) * BlockSize
	}
	if err := check(r.runs, h.Size); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if place > size {
		return fmt.Errorf("%w: %d bytes, and there is room for %d", ErrCorrupt, place, size)
	}
	return nil
}

// Size is the size of the image in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	wanted := len(p)
	p = p[:max(0, min(int64(wanted), r.size-off))]
	// The first run that ends behind off.
	i, _ := slices.BinarySearchFunc(r.runs, off, func(run Run, off int64) int {
		if run.end() <= off {
			return -1
		}
		return 1
	})
	for done := 0; done < len(p); {
		at, part := off+int64(done), p[done:]
		switch {
		case i == len(r.runs):
			clear(part)
		case at < r.runs[i].start():
			part = part[:min(int64(len(part)), r.runs[i].start()-at)]
			clear(part)
		default:
			part = part[:min(int64(len(part)), r.runs[i].end()-at)]
			if n, err := r.from.ReadAt(part, r.places[i]+at-r.runs[i].start()); n < len(part) {
				return done + n, err
			}
			i++
		}
		done += len(part)
	}
	if len(p) < wanted {
		return len(p), io.EOF
	}
	return wanted, nil
}

func (r Run) start() int64 { return int64(r.First) * BlockSize }
func (r Run) end() int64   { return (int64(r.First) + int64(r.Count)) * BlockSize }
