package diskimage

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// writePatch writes a few bytes into what may be a clone.
//
// Where a block is shared, XFS sets 128 KiB aside for writing any of it, which
// makes 32 MB for 252 nodes. A hole takes just the blocks that are written.
func writePatch(image *os.File, data []byte, off int64) error {
	if !onXFS(image) {
		_, err := image.WriteAt(data, off)
		return err
	}
	const blockSize = 4096
	start := off / blockSize * blockSize
	end := (off + int64(len(data)) + blockSize - 1) / blockSize * blockSize
	blocks := make([]byte, end-start)
	n, err := image.ReadAt(blocks, start)
	if err != nil && err != io.EOF {
		return err
	}
	copy(blocks[off-start:], data)
	if err := punch(image, segment{start, end}); err != nil {
		return err
	}
	_, err = image.WriteAt(blocks[:n], start)
	return err
}

func onXFS(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == unix.XFS_SUPER_MAGIC
}
