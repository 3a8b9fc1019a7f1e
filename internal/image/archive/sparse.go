package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"clusterctrl/internal/format/ext4"
)

// blockSize is tar's: headers and contents are filled up to it.
const blockSize = 512

// isSparse tells whether a file of size bytes has holes.
func isSparse(extents []ext4.Extent, size int64) bool {
	var data int64
	for _, e := range extents {
		data += e.Length
	}
	return data < size
}

// sparse writes a file with holes as GNU tar's format 1.0 has it (GNU tar manual,
// "PAX Format, Version 1.0"): records that give the real name and size, then, as
// the content, a map of what holds data and that data. The package tar can read
// it and not write it.
func (a *writer) sparse(h *tar.Header, from io.ReaderAt, extents []ext4.Extent) error {
	contents := sparseMap(extents, h.Size)
	var size = int64(len(contents))
	for _, e := range extents {
		size += e.Length
	}
	if err := a.sparseHeaders(*h, size); err != nil {
		return err
	}
	if _, err := a.out.Write(contents); err != nil {
		return err
	}
	for _, e := range extents {
		if _, err := io.Copy(a.out, io.NewSectionReader(from, e.Offset, e.Length)); err != nil {
			return err
		}
	}
	_, err := a.out.Write(make([]byte, padding(size)))
	return err
}

// padding is the number of bytes that are missing to whole blocks.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// sparseMap is the number of ranges, then offset and length of each, a line a
// number. A last range, of nothing, marks the file's end.
func sparseMap(extents []ext4.Extent, size int64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", len(extents)+1)
	for _, e := range append(extents[:len(extents):len(extents)], ext4.Extent{Offset: size}) {
		fmt.Fprintf(&b, "%d\n%d\n", e.Offset, e.Length)
	}
	b.Write(make([]byte, padding(int64(b.Len()))))
	return b.Bytes()
}

// sparseHeaders writes the headers of a sparse file whose content in the archive
// has size bytes: an extended one, with all that has a record, and the file's own.
func (a *writer) sparseHeaders(h tar.Header, size int64) error {
	records := h.PAXRecords
	records["GNU.sparse.major"], records["GNU.sparse.minor"] = "1", "0"
	records["GNU.sparse.name"], records["GNU.sparse.realsize"] = h.Name, fmt.Sprint(h.Size)
	records["size"], records["uid"], records["gid"] = fmt.Sprint(size), fmt.Sprint(h.Uid), fmt.Sprint(h.Gid)
	records["mtime"] = fmt.Sprintf("%d.%09d", h.ModTime.Unix(), h.ModTime.Nanosecond())
	text := paxText(records)
	if err := a.tar.Flush(); err != nil { // the file before this one is whole
		return err
	}
	for _, block := range [][]byte{
		ustar("PaxHeaders.0/sparse", 0o644, int64(len(text)), 'x'),
		append([]byte(text), make([]byte, padding(int64(len(text))))...),
		ustar("GNUSparseFile.0/file", h.Mode, size, '0'),
	} {
		if _, err := a.out.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// paxText are the records of an extended header (POSIX.1-2001, pax, "pax Extended
// Header"). Each begins with its own length.
func paxText(records map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(records)) {
		rest := fmt.Sprintf(" %s=%s\n", key, records[key])
		length := len(rest)
		for length != len(rest)+len(fmt.Sprint(length)) {
			length = len(rest) + len(fmt.Sprint(length))
		}
		fmt.Fprintf(&b, "%d%s", length, rest)
	}
	return b.String()
}

// ustar is a header of a tar archive (POSIX.1-1988). A size that has no room in it
// is 0; a record says it then.
func ustar(name string, mode, size int64, kind byte) []byte {
	header := make([]byte, blockSize)
	if size > 0o77777777777 {
		size = 0
	}
	copy(header, name)
	copy(header[100:], fmt.Sprintf("%07o", mode))
	copy(header[108:], "0000000") // owner and group: a record says them
	copy(header[116:], "0000000")
	copy(header[124:], fmt.Sprintf("%011o", size))
	copy(header[136:], "00000000000") // time: likewise
	copy(header[148:], "        ")    // what the checksum counts for itself
	header[156] = kind
	copy(header[257:], "ustar\x0000")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00", sum))
	return header
}
