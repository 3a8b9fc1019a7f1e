package diskimage

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// writeSector writes a sector into what may be a clone.
//
// Where a block is shared, XFS sets 128 KiB aside for writing any of it, which
// makes 32 MB for 252 nodes. A hole takes just the block that is written.
func writeSector(image *os.File, sector []byte, off int64) error {
	if !onXFS(image) {
		_, err := image.WriteAt(sector, off)
		return err
	}
	const blockSize = 4096
	start := off / blockSize * blockSize
	block := make([]byte, blockSize)
	n, err := image.ReadAt(block, start)
	if err != nil && err != io.EOF {
		return err
	}
	copy(block[off-start:], sector)
	if err := punch(image, segment{start, start + blockSize}); err != nil {
		return err
	}
	_, err = image.WriteAt(block[:n], start)
	return err
}

func onXFS(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == unix.XFS_SUPER_MAGIC
}
