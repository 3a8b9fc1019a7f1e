package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/format/mbr"
)

// Bases are in a directory below that of the disks. Each has its SHA-256 for a name, and a
// note beside it of the file's stamp when its content was last compared with the SHA-256.
const (
	baseDir  = "base"
	baseExt  = ".img"
	noteExt  = ".checked"
	baseTemp = ".new" // an image that is being unpacked
)

func (d Dir) baseFile(sum [sha256.Size]byte) string {
	return filepath.Join(d.Path, baseDir, hex.EncodeToString(sum[:])+baseExt)
}

// An openedBase is a base that is read.
type openedBase interface {
	io.ReaderAt
	io.Closer
}

// openBase opens a base, a file or the image on the controller's card, after checking that
// it is unchanged.
func (d Dir) openBase(b Base) (openedBase, error) {
	name := d.baseFile(b.Sum)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if card, err := d.openCard(); err == nil && card.base() == b {
			return card, nil
		} else if err == nil {
			card.Close()
		}
		return nil, fmt.Errorf("its base is missing: want an image with SHA-256 %x as %s", b.Sum, name)
	}
	if err != nil {
		return nil, err
	}
	if err := checkBase(f, b); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// checkBase compares a base with its SHA-256, unless the file is unchanged since the last
// comparison.
func checkBase(f *os.File, b Base) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	note := strings.TrimSuffix(f.Name(), baseExt) + noteExt
	if text, err := os.ReadFile(note); err == nil && string(text) == stamp(info) && info.Size() == b.Size {
		return nil
	}
	sum, err := hashFile(context.Background(), f, io.Discard)
	if err != nil {
		return err
	}
	if sum != b.Sum || info.Size() != b.Size {
		return fmt.Errorf("the base was changed: it has %d bytes with SHA-256 %x, want %d bytes with %x", info.Size(), sum, b.Size, b.Sum)
	}
	_ = os.WriteFile(note, []byte(stamp(info)), 0o644) // without the note, the next check reads the base again
	return nil
}

// hashFile returns the SHA-256 of a file, and tells progress of every byte.
func hashFile(ctx context.Context, f *os.File, progress io.Writer) (sum [sha256.Size]byte, err error) {
	hash, buf := sha256.New(), make([]byte, 1<<20)
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n, err := f.ReadAt(buf, at)
		hash.Write(buf[:n])
		if _, err := progress.Write(buf[:n]); err != nil {
			return sum, err
		}
		if err == io.EOF {
			return [sha256.Size]byte(hash.Sum(nil)), nil
		}
		if err != nil {
			return sum, err
		}
		at += int64(n)
	}
}

// addBase makes a base of an image, unless it is there. The image's file goes away.
func (d Dir) addBase(ctx context.Context, image *os.File, progress Progress) (Base, error) {
	info, err := image.Stat()
	if err != nil {
		return Base{}, err
	}
	if info.Size() == 0 || info.Size()%mbr.SectorSize != 0 {
		return Base{}, fmt.Errorf("an image of %d bytes: want whole sectors of %d", info.Size(), mbr.SectorSize)
	}
	show := progress.start("checksum", info.Size())
	defer show.Close()
	base := Base{Size: info.Size()}
	if base.Sum, err = hashFile(ctx, image, show); err != nil {
		return Base{}, err
	}
	if there, err := d.openBase(base); err == nil {
		return base, there.Close()
	}
	if err := errors.Join(image.Chmod(0o444), image.Sync()); err != nil {
		return Base{}, err
	}
	if err := os.Rename(image.Name(), d.baseFile(base.Sum)); err != nil {
		return Base{}, err
	}
	if info, err = image.Stat(); err != nil {
		return Base{}, err
	}
	note := strings.TrimSuffix(d.baseFile(base.Sum), baseExt) + noteExt
	_ = os.WriteFile(note, []byte(stamp(info)), 0o644)
	return base, syncDir(filepath.Join(d.Path, baseDir))
}

// removeUnused removes the bases that no disk needs any more. It removes none if it cannot
// find out which base a disk needs.
func (d Dir) removeUnused() error {
	ids, err := d.IDs()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, id := range ids {
		h, err := d.header(id)
		if err != nil {
			return nil
		}
		used[hex.EncodeToString(h.Base.Sum[:])] = true
	}
	entries, err := os.ReadDir(filepath.Join(d.Path, baseDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		sum := strings.TrimSuffix(strings.TrimSuffix(e.Name(), baseExt), noteExt)
		if len(sum) != 2*sha256.Size || sum == e.Name() || used[sum] {
			continue
		}
		if err := os.Remove(filepath.Join(d.Path, baseDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
