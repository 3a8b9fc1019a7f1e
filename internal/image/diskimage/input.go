package diskimage

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/format/xz"
)

// Stdin is the name under which [Open] reads standard input.
const Stdin = "-"

// An Input is a disk image as it was published: raw, or packed by xz, gzip,
// zstd or zip. It is only ever read.
type Input struct {
	name   string
	image  string    // base name of the image within
	stream io.Reader // the bytes as given
	file   *os.File  // the same, if they can be read at any offset
	packed int64     // the size of that file
	format format
	size   int64
	want   *Sum
	closer io.Closer
	index  *xz.Index // if the file is xz and has several blocks
	member *zip.File // if it is zip
}

// headSize is how much of an input tells its format and, for zstd, its size.
const headSize = 4096

// A Stream is an image that comes from elsewhere, such as a server. It is given to
// [Open] in place of standard input.
type Stream struct {
	io.Reader
	Name string // with the image's own name at the end, as in an address
}

// Open opens the image in the file name, or on stdin if name is [Stdin]. A nil stdin
// allows files only.
func Open(name string, stdin io.Reader) (*Input, error) {
	in := &Input{name: name, stream: stdin}
	stream, named := stdin.(Stream)
	switch {
	case name == Stdin && stdin == nil:
		return nil, errors.New("standard input: want a file here")
	case name == Stdin && named:
		in.name = stream.Name
	case name == Stdin:
		in.name = "standard input"
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		in.stream, in.closer = f, f
	}
	if err := in.open(); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// OpenRaw opens an image that is used as it lies there: a file that is not packed,
// or a disk.
func OpenRaw(name string) (*Input, error) {
	in, err := Open(name, nil)
	if err != nil {
		return nil, err
	}
	if in.Raw() != nil {
		return in, nil
	}
	in.Close()
	if in.format.name != raw.name {
		return nil, fmt.Errorf("%s: it is packed: unpack it first", name)
	}
	return nil, fmt.Errorf("%s: want a file, or a disk", name)
}

func (in *Input) open() error {
	if in.file = seekable(in.stream); in.file != nil {
		size, err := fileSize(in.file)
		if err != nil {
			return err
		}
		// The reader has its own position: looking for holes moves the file's position.
		in.stream = io.NewSectionReader(in.file, 0, size)
		in.packed = size
	}
	head, err := in.head()
	if err != nil {
		return fmt.Errorf("%s: %w", in.name, withoutPath(err))
	}
	if in.format, err = detect(in.name, head); err != nil {
		return err
	}
	in.image = filepath.Base(in.name)
	if ext := filepath.Ext(in.image); strings.EqualFold(ext, in.format.ext) && in.format.name != raw.name {
		in.image = strings.TrimSuffix(in.image, ext)
	}
	switch in.format.name {
	case raw.name:
		if isText(head) {
			return fmt.Errorf("%s: a text file%s: want a disk image", in.name, ofSize(in.packed))
		}
		in.size = in.packed
	case "zstd":
		in.size = zstdSize(head)
	case "xz":
		err = in.openIndex()
	case "zip":
		err = in.openZip()
	}
	return err
}

// seekable returns r if it is a file or a disk that can be read at any offset.
// Standard input can: "clusterctrl build - <x.img.xz".
func seekable(r io.Reader) *os.File {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	if pos, err := f.Seek(0, io.SeekCurrent); err != nil || pos != 0 {
		return nil
	}
	if size, err := fileSize(f); err != nil || size == 0 {
		return nil
	}
	return f
}

// fileSize returns the size of a file or disk, 0 of what has none.
func fileSize(f *os.File) (int64, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case info.Mode().IsRegular():
		return info.Size(), nil
	case info.Mode().Type() != fs.ModeDevice: // a pipe, say, or a terminal
		return 0, nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	return size, errors.Join(err, rewind(f))
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// head returns the first bytes of the input, which are still to be read.
func (in *Input) head() ([]byte, error) {
	r := bufio.NewReaderSize(in.stream, 1<<20)
	in.stream = r
	head, err := r.Peek(headSize)
	if len(head) == 0 && err == io.EOF {
		return nil, errors.New("empty")
	}
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// ofSize says how large a file is, nothing of one that does not tell.
func ofSize(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d bytes", bytes)
}

// Size returns the size of the image that the input announces, or 0: gzip and pipes
// announce none, and zstd only if its writer knew it. Size serves to show progress.
func (in *Input) Size() int64 { return in.size }

// Least returns how many bytes the image takes on a disk at least, 0 if nothing is known:
// its holes take none, and packing makes no image larger.
func (in *Input) Least() int64 {
	if in.file == nil {
		return 0
	}
	if info, err := in.file.Stat(); err == nil && info.Mode().IsRegular() {
		return min(allocated(info), in.packed)
	}
	return 0
}

// ImageName returns the base name of the image: without the suffix of its
// packing, or as a zip file has it. For standard input it is "standard input".
func (in *Input) ImageName() string { return in.image }

// Raw returns the file if it is the image itself, to be read only; else nil.
func (in *Input) Raw() *os.File {
	if in.format.name != raw.name {
		return nil
	}
	return in.file
}

// Expect has [Input.Decode] compare the SHA-256 of the input's bytes, as they
// are given, with sum.
func (in *Input) Expect(sum Sum) { in.want = &sum }

// Close closes the file. Standard input stays open.
func (in *Input) Close() error {
	if in.closer == nil {
		return nil
	}
	return in.closer.Close()
}
