package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// The most bytes of a file that is read whole. A tree is foreign: a sparse file takes
// no room on its disk, and may be larger than this machine's memory.
const (
	maxText = 16 << 20 // a list of hosts that are advertisers' takes five
	maxKept = 64 << 20 // what edits replace: texts, and our programs
)

// ReadText returns the content of a text file, which must be a regular file of at
// most 16 MiB.
func ReadText(fsys fs.FS, name string) ([]byte, error) { return readFile(fsys, name, maxText) }

// readFile returns the content of a file of at most limit bytes.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	if o, ok := fsys.(*Overlay); ok {
		return o.readFile(name, limit)
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	return readKnown(fsys, name, info, limit)
}

// readKnown is readFile of a file whose info is known from Stat. Opening a file that is
// not regular could wait for ever, as for the other end of a pipe.
func readKnown(fsys fs.FS, name string, info fs.FileInfo, limit int64) ([]byte, error) {
	switch {
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return nil, notRegular(name, info)
	case info.Size() > limit:
		return nil, tooLarge(name, info.Size(), limit)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var content bytes.Buffer
	content.Grow(int(info.Size()) + bytes.MinRead)
	n, err := content.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && n > limit { // it has grown since
		err = tooLarge(name, n, limit)
	}
	return content.Bytes(), err
}

func notRegular(name string, info fs.FileInfo) error {
	return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is a %v: want a regular file", info.Mode().Type())}
}

func tooLarge(name string, size, limit int64) error {
	return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it has %d bytes or more: want at most %d", size, limit)}
}
