package labtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"testing"
)

// A Write is one thing that a machine asked of its disk: to write Data, to
// forget Discard bytes, or, with neither, only what Flush says.
type Write struct {
	Offset  int64 // in bytes
	Data    []byte
	Discard int64 // bytes
	Flush   bool  // all that was written before must be safe first
	FUA     bool  // this must be safe before the answer
}

// The log is the one of the kernel's dm-log-writes: a head, then entries, each
// in a sector of its own, with the data of writes in the sectors behind.
const (
	logMagic   = 0x6a736677736872
	logVersion = 1

	logFlush   = 1 << 0
	logFUA     = 1 << 1
	logDiscard = 1 << 2
)

type logHead struct {
	Magic, Version uint64
	Entries        uint64 // brought up to date with flushes, so it may be behind
	SectorSize     uint32
}

type logEntry struct {
	Sector, Sectors uint64
	Flags           uint64
	_               uint64 // length of the data of a mark
}

// ReadWriteLog walks through what a machine wrote, in its order, as logged in
// the log file. A last entry that a power cut left incomplete is left out: it was not
// written to the disk either. It stops after the first error.
func ReadWriteLog(log io.Reader) iter.Seq2[Write, error] {
	return func(yield func(Write, error) bool) {
		size, err := readLogHead(log)
		for err == nil {
			var w Write
			w, err = readLogEntry(log, size)
			if err == nil && !yield(w, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			yield(Write{}, fmt.Errorf("log of writes: %w", err))
		}
	}
}

// WritesAndFlushes returns all that a machine asked of its disk, as logged in a file. It
// fails the test where the machine asked for more: tests that cut the power know of
// neither FUA nor discards.
func WritesAndFlushes(t testing.TB, file string) (asked []Write) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for w, err := range ReadWriteLog(f) {
		if err != nil {
			t.Fatal(err)
		}
		if w.FUA || w.Discard > 0 {
			t.Fatalf("write at %d: FUA %v, %d bytes discarded: want neither", w.Offset, w.FUA, w.Discard)
		}
		asked = append(asked, w)
	}
	return asked
}

// readLogHead returns the size of a sector of the log.
func readLogHead(log io.Reader) (int64, error) {
	var head logHead
	if err := binary.Read(log, binary.LittleEndian, &head); err != nil {
		return 0, err
	}
	if head.Magic != logMagic || head.Version != logVersion {
		return 0, fmt.Errorf("magic number %#x, version %d: want %#x, %d", head.Magic, head.Version, uint64(logMagic), logVersion)
	}
	size := int64(head.SectorSize)
	if size < 512 || size > 1<<16 || size&(size-1) != 0 {
		return 0, fmt.Errorf("sectors of %d bytes: want a power of two from 512 to 65536", size)
	}
	_, err := io.CopyN(io.Discard, log, size-int64(binary.Size(head)))
	return size, err
}

func readLogEntry(log io.Reader, size int64) (Write, error) {
	var e logEntry
	if err := binary.Read(log, binary.LittleEndian, &e); err != nil {
		return Write{}, err
	}
	if _, err := io.CopyN(io.Discard, log, size-int64(binary.Size(e))); err != nil {
		return Write{}, err
	}
	if e.Sectors == 0 && e.Flags == 0 {
		return Write{}, errors.New("an entry asks for nothing, as one that QEMU could not log")
	}
	const most = 1 << 40 // bytes; more than a card has
	if e.Sector > most/uint64(size) || e.Sectors > most/uint64(size) {
		return Write{}, fmt.Errorf("entry for %d sectors at %d of %d bytes: want at most 2^40 bytes", e.Sectors, e.Sector, size)
	}
	w := Write{Offset: int64(e.Sector) * size, Flush: e.Flags&logFlush != 0, FUA: e.Flags&logFUA != 0}
	if e.Flags&logDiscard != 0 {
		w.Discard = int64(e.Sectors) * size
	}
	if e.Sectors == 0 || w.Discard > 0 {
		return w, nil
	}
	var data bytes.Buffer // grows by what is there, not by what the entry says
	_, err := io.CopyN(&data, log, int64(e.Sectors)*size)
	w.Data = data.Bytes()
	return w, err
}
