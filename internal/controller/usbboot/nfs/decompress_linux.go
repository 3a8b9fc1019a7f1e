package nfs

import (
	"bufio"
	"bytes"
	"io"

	"clusterctrl/internal/format/xz"
	"github.com/klauspost/compress/zstd"
)

// First bytes of packed files (RFC 8878, section 3.1.1; the .xz file format, section
// 2.1.1.1).
var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	xzMagic   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
)

// decompress returns what a file holds, by what its first bytes say of how it is packed.
func decompress(file io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(file, 1<<20)
	head, err := r.Peek(len(xzMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, zstdMagic):
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20)) // windows of zstd --ultra have 128 MiB
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bytes.HasPrefix(head, xzMagic):
		return io.NopCloser(xz.NewReader(r, xz.DefaultMaxDict)), nil
	}
	return io.NopCloser(r), nil
}
