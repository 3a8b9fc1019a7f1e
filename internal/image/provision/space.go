package provision

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"clusterctrl/internal/image/diskimage"
)

// checkSpace refuses to begin where the file system of dir has certainly no space for n
// copies of the image of an input, and warns where it may have none.
func checkSpace(dir string, in *diskimage.Input, n int, warn func(string)) error {
	free, err := diskimage.FreeSpace(dir)
	if err != nil {
		return nil // writing finds out
	}
	if least := in.Least() * int64(n); least > free {
		return fmt.Errorf("%s: %s, and %s are free: make room, or name another directory", dir, need(n, "at least", least), gigabytes(free))
	}
	if most := in.Size() * int64(n); most > free && warn != nil {
		warn(fmt.Sprintf("%s: %s, and %s are free", dir, need(n, "up to", most), gigabytes(free)))
	}
	return nil
}

func need(n int, bound string, bytes int64) string {
	if n == 1 {
		return fmt.Sprintf("the unpacked image needs %s %s", bound, gigabytes(bytes))
	}
	return fmt.Sprintf("%d images need %s %s", n, bound, gigabytes(bytes))
}

func gigabytes(bytes int64) string { return fmt.Sprintf("%.2f GB", float64(bytes)/1e9) }

// copies is how many files of a build do not share their blocks.
func (b *build) copies() int {
	if b.loose != nil || diskimage.SharesBlocks(b.Dir) {
		return 1
	}
	images, _ := b.outputs()
	return len(images)
}

// warnOfOthers warns of images in the outputs' directory that may be in the way, where
// the names of the outputs are known only when the base has been unpacked.
func (o Options) warnOfOthers(guess name) {
	if o.Existing != diskimage.Refuse || guess.complete() || o.Warn == nil {
		return
	}
	for _, role := range o.roles(guess.flavour) {
		pattern := fmt.Sprintf("*-%d-*-ClusterCTRL-*-%s", o.Settings.Revision, suffix(role)+o.Format.Ext())
		found, err := fs.Glob(os.DirFS(o.Dir), pattern)
		if err == nil && len(found) > 0 {
			o.Warn(fmt.Sprintf("%s exists: if the base is of that release too, this ends with an error; --force replaces it, --keep leaves it", filepath.Join(o.Dir, found[0])))
			return
		}
	}
}
