package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// ErrDamaged is wrapped by every error that says an input cannot be decoded.
var ErrDamaged = errors.New("file is truncated or damaged; download it again")

// maxWindow bounds the memory that a zstd file can ask for. It is the bound of
// the zstd program.
const maxWindow = 128 << 20

// A format is a way in which images are packed.
type format struct {
	name  string
	ext   string // of file names
	magic string // the first bytes; none for raw images
	// open unpacks a stream; nil where that takes the whole file.
	open func(io.Reader) (io.ReadCloser, error)
}

var formats = []format{
	{"xz", ".xz", "\xfd7zXZ\x00", openXZ},
	{"gzip", ".gz", "\x1f\x8b", openGzip},
	{"zstd", ".zst", "\x28\xb5\x2f\xfd", openZstd},
	{"zip", ".zip", "PK\x03\x04", nil},
}

// isSkippable tells a frame of zstd that holds notes by its first bytes (RFC 8878,
// section 3.1.2). pzstd writes one before each frame of data.
func isSkippable(head []byte) bool {
	const rest = "\x2a\x4d\x18"
	return len(head) > len(rest) && head[0]&0xf0 == 0x50 && string(head[1:][:len(rest)]) == rest
}

var raw = format{name: "raw", ext: ".img", open: func(r io.Reader) (io.ReadCloser, error) {
	return io.NopCloser(r), nil
}}

// unsupported are packings that users may have, and that this package does not read.
var unsupported = []format{
	{name: "bzip2", magic: "BZh"},
	{name: "7-Zip", magic: "7z\xbc\xaf\x27\x1c"},
	{name: "RAR", magic: "Rar!\x1a\x07"},
	{name: "lz4", magic: "\x04\x22\x4d\x18"},
	{name: "lzip", magic: "LZIP"},
	{name: "qcow2", magic: "QFI\xfb"},
	{name: "zip (empty)", magic: "PK\x05\x06"},
}

// detect tells the format by the first bytes of a file. The name counts only
// where the bytes tell nothing: a web page saved as .img.xz is no raw image.
func detect(name string, head []byte) (format, error) {
	has := func(f format) bool {
		return bytes.HasPrefix(head, []byte(f.magic)) || f.name == "zstd" && isSkippable(head)
	}
	for _, f := range formats {
		if has(f) {
			return f, nil
		}
	}
	for _, f := range unsupported {
		if has(f) {
			return format{}, fmt.Errorf("%s: is %s; want .img, .img.xz, .img.gz, .img.zst or .zip", name, f.name)
		}
	}
	for _, f := range formats {
		if strings.EqualFold(filepath.Ext(name), f.ext) {
			return format{}, fmt.Errorf("%s: not %s, begins with %q: %w", name, f.name, head[:min(len(head), 8)], ErrDamaged)
		}
	}
	return raw, nil
}

// isText reports whether the first bytes of a file are text. Those of a disk image are
// not, since no program for its first sector does without a zero.
func isText(head []byte) bool {
	for len(head) > 0 {
		r, size := utf8.DecodeRune(head)
		cut := !utf8.FullRune(head) // by the end of head
		if !cut && (r == utf8.RuneError || r < ' ' && !strings.ContainsRune("\t\n\f\r", r)) {
			return false
		}
		head = head[size:]
	}
	return true
}

func openZstd(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// zstdSize returns the size that the header of a zstd file announces, or 0.
func zstdSize(head []byte) int64 {
	var h zstd.Header
	if h.Decode(head) != nil || !h.HasFCS || h.FrameContentSize > maxSize {
		return 0
	}
	return int64(h.FrameContentSize)
}
