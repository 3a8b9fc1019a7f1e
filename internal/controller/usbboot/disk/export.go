package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"clusterctrl/internal/node"
)

// pieceSize is how much is read at once.
const pieceSize = 1 << 20

// Export writes a node's disk, base and changes, into an empty file as an ordinary image.
// Blocks of zeros become holes.
func (d Dir) Export(ctx context.Context, id node.ID, to *os.File, progress Progress) error {
	disk, err := d.open(id)
	if err != nil {
		return err
	}
	defer disk.Close()
	show := progress.start("export", disk.Size())
	defer show.Close()
	buf := make([]byte, pieceSize)
	for at := int64(0); at < disk.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, here := disk.alike(at, min(pieceSize, disk.Size()-at))
		piece := buf[:n]
		if here || at < disk.header.Base.Size {
			if _, err := disk.ReadAt(piece, at); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
			if err := writeSparse(to, piece, at); err != nil {
				return err
			}
		}
		if _, err := show.Write(piece); err != nil {
			return err
		}
		at += n
	}
	return to.Truncate(disk.Size())
}

var zeroBlock [blockSize]byte

// writeSparse writes what is not zeros, as many blocks at a time as lie together.
func writeSparse(to *os.File, p []byte, at int64) error {
	start := 0 // of what is to be written
	for i := 0; i < len(p); i += blockSize {
		block := p[i:min(i+blockSize, len(p))]
		if !bytes.Equal(block, zeroBlock[:len(block)]) {
			continue
		}
		if _, err := to.WriteAt(p[start:i], at+int64(start)); err != nil {
			return err
		}
		start = i + len(block)
	}
	_, err := to.WriteAt(p[start:], at+int64(start))
	return err
}
