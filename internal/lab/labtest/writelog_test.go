package labtest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const logSector = 512

// writeLog is what QEMU logs of writes.
func writeLog(writes []Write) []byte {
	log := logRecord(logHead{Magic: logMagic, Version: logVersion, SectorSize: logSector})
	for _, w := range writes {
		e := logEntry{Sector: uint64(w.Offset / logSector), Sectors: uint64((int64(len(w.Data)) + w.Discard) / logSector)}
		for flag, set := range map[uint64]bool{1: w.Flush, 2: w.FUA, 4: w.Discard > 0} {
			if set {
				e.Flags |= flag
			}
		}
		log = append(append(log, logRecord(e)...), w.Data...)
	}
	return log
}

func logRecord(record any) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, record)
	return append(b.Bytes(), make([]byte, logSector-b.Len())...)
}

func readAll(log []byte) (writes []Write, err error) {
	for w, err := range ReadWriteLog(bytes.NewReader(log)) {
		if err != nil {
			return writes, err
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// TestWriteLog reads what was logged, also if the log is cut off: then all
// entries that are whole.
func TestWriteLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		writes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Write {
			w := Write{
				Offset: logSector * rapid.Int64Range(0, 1<<31).Draw(t, "sector"),
				Flush:  rapid.Bool().Draw(t, "flush"),
				FUA:    rapid.Bool().Draw(t, "FUA"),
			}
			if n := rapid.IntRange(-3, 3).Draw(t, "sectors"); n < 0 {
				w.Discard = int64(-n) * logSector
			} else if n > 0 {
				w.Data = bytes.Repeat(rapid.SliceOfN(rapid.Byte(), logSector, logSector).Draw(t, "data"), n)
			} else {
				w.Flush = true
			}
			return w
		}), 0, 6).Draw(t, "writes")
		got, err := readAll(writeLog(writes))
		if diff := cmp.Diff(writes, got); err != nil || len(writes) > 0 && diff != "" {
			t.Fatalf("%v; -want +got:\n%s", err, diff)
		}
		whole := rapid.IntRange(0, len(writes)).Draw(t, "whole")
		log, rest := writeLog(writes[:whole]), writeLog(writes)
		cut := rapid.IntRange(len(log), len(rest)).Draw(t, "cut")
		got, err = readAll(rest[:cut])
		if err != nil || len(got) < whole || cut < len(rest) && len(got) == len(writes) && len(writes) > 0 {
			t.Fatalf("cut off at %d: %d writes, %v; want %d or more, not all", cut, len(got), err, whole)
		}
	})
}

// badLogs are logs for each way in which one can be wrong.
var badLogs = map[string][]byte{
	"magic number":       logRecord(logHead{Magic: logMagic + 1, Version: logVersion, SectorSize: logSector}),
	"version":            logRecord(logHead{Magic: logMagic, Version: 2, SectorSize: logSector}),
	"no sectors":         logRecord(logHead{Magic: logMagic, Version: logVersion}),
	"small sectors":      logRecord(logHead{Magic: logMagic, Version: logVersion, SectorSize: 256}),
	"odd sectors":        logRecord(logHead{Magic: logMagic, Version: logVersion, SectorSize: 1000}),
	"huge sectors":       logRecord(logHead{Magic: logMagic, Version: logVersion, SectorSize: 1 << 31}),
	"nothing":            append(writeLog(nil), make([]byte, logSector)...),
	"far away":           append(writeLog(nil), logRecord(logEntry{Sector: 1 << 60})...),
	"too much":           append(writeLog(nil), logRecord(logEntry{Sectors: 1 << 55})...),
	"too much to forget": append(writeLog(nil), logRecord(logEntry{Sectors: 1 << 55, Flags: logDiscard})...),
}

func TestWriteLogRefuses(t *testing.T) {
	for name, log := range badLogs {
		if got, err := readAll(log); err == nil || !strings.HasPrefix(err.Error(), "log of writes: ") {
			t.Errorf("%s: %v, %v; want an error", name, got, err)
		}
	}
}

func FuzzWriteLog(f *testing.F) {
	for _, log := range badLogs {
		f.Add(log)
	}
	f.Add([]byte{})
	f.Add(writeLog([]Write{{Offset: 1024, Data: make([]byte, 1024), FUA: true}, {Flush: true}, {Offset: 512, Discard: 512}}))
	f.Add(append(writeLog(nil), logRecord(logEntry{Sectors: 1 << 31})...)) // says more than there is
	f.Fuzz(func(t *testing.T, log []byte) {
		writes, _ := readAll(log)
		size := 0
		for _, w := range writes {
			size += logSector + len(w.Data)
			if w.Offset < 0 || w.Discard < 0 {
				t.Errorf("write at %d, discard of %d", w.Offset, w.Discard)
			}
		}
		if size > len(log) {
			t.Errorf("%d bytes of entries in a log of %d", size, len(log))
		}
	})
}
