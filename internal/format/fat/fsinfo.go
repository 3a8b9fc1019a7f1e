package fat

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A summary is FAT32's information sector.
type summary struct {
	Lead      uint32
	Reserved  [480]byte
	Struct    uint32
	Free      uint32 // number of free clusters
	Next      uint32 // the cluster that was allocated last
	Reserved2 [12]byte
	Trail     uint32
}

const (
	summaryLead   = 0x41615252
	summaryStruct = 0x61417272
)

// readSummary returns nil if there is no usable information sector: Linux does
// without, too.
func readSummary(dev io.ReaderAt, g geometry) (*summary, error) {
	if g.infoStart == 0 {
		return nil, nil
	}
	var s summary
	raw := make([]byte, binary.Size(s))
	if n, err := dev.ReadAt(raw, g.infoStart); n < len(raw) {
		return nil, fmt.Errorf("information sector: %w", err)
	}
	if _, err := binary.Decode(raw, binary.LittleEndian, &s); err != nil {
		return nil, fmt.Errorf("information sector: %w", err)
	}
	if s.Lead != summaryLead || s.Struct != summaryStruct {
		return nil, nil
	}
	return &s, nil
}

// update brings the summary up to what has been done to a table since it was opened.
// It changes the number of free clusters by the difference, even if that number was
// wrong before: counting all free clusters would take a Pi longer than all else that it
// does to its boot partition, and Linux counts them itself. Only an impossible number is
// replaced.
func (s *summary) update(t *table) (err error) {
	n := int64(s.Free) - int64(t.taken)
	if s.Free > t.clusters || n < 0 || n > int64(t.clusters) {
		var counted int
		counted, err = t.countFree()
		n = int64(counted)
	}
	s.Free, s.Next = uint32(n), t.last
	return err
}

func (s *summary) write(dev io.WriterAt, g geometry) error {
	raw, err := binary.Append(nil, binary.LittleEndian, s)
	if err != nil {
		return fmt.Errorf("information sector: %w", err)
	}
	if _, err := dev.WriteAt(raw, g.infoStart); err != nil {
		return fmt.Errorf("information sector: %w", err)
	}
	return nil
}
