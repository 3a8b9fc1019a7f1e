package disk

import "io"

// Create writes a file of changes for a disk of size bytes over a base, with one change, the
// sector first. It writes out the whole map, so that no later flush lacks room for it. All
// is on stable storage when Create returns.
func Create(changes Store, size int64, over io.ReaderAt, base Base, first Sector) error {
	size = roundUp(size, blockSize)
	text, err := newHeader(size, base, first).encode()
	if err != nil {
		return err
	}
	if _, err := changes.WriteAt(text, 0); err != nil {
		return err
	}
	zeros := make([]byte, blockSize)
	for at := int64(blockSize); at < dataStart(size); at += blockSize {
		if _, err := changes.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	d, err := Open(changes, over)
	if err != nil {
		return err
	}
	if _, err := d.WriteAt(first.Data[:], first.Offset); err != nil {
		return err
	}
	return d.Flush()
}
