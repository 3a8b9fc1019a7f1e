package disk

import "crypto/sha256"

// Create writes an empty file of changes, of a disk of size bytes over a base that
// has baseSize bytes and a digest. The map is written out, so that no flush ever
// lacks room for it. The file is not yet synced.
func Create(changes Store, size, baseSize int64, base [sha256.Size]byte) error {
	text, err := newHeader(roundUp(size, blockSize), baseSize, base).encode()
	if err != nil {
		return err
	}
	if _, err := changes.WriteAt(text, 0); err != nil {
		return err
	}
	zeros := make([]byte, blockSize)
	for at := int64(blockSize); at < dataStart(roundUp(size, blockSize)); at += blockSize {
		if _, err := changes.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return nil
}
