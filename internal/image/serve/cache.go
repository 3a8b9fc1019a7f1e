package serve

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/image/diskimage"
)

// A cache keeps sums from one run to the next, in a file for each controller's image.
// The file has the form of SHA256SUMS, with ETags for names: an image that has changed
// has another ETag. A file that cannot be read or written is ignored.
type cache struct {
	dir   string // none if it is empty
	image string // what the names of the image's files start with
	name  string // of the file for the image as it is now
}

func cacheOf(dir string, s source) cache {
	if dir == "" {
		return cache{}
	}
	path, err := filepath.Abs(s.name)
	if err != nil {
		return cache{}
	}
	short := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return fmt.Sprintf("%x", sum[:8])
	}
	image := short(path) + "-"
	return cache{dir, image, image + short(fmt.Sprint(s.size, s.modified.UnixNano()))}
}

func (c cache) load() map[string]diskimage.Sum {
	if c.dir == "" {
		return nil
	}
	sums, err := diskimage.ReadSums(filepath.Join(c.dir, c.name))
	if err != nil {
		return nil
	}
	return sums
}

// save writes sums in place of the sums of earlier versions of the image.
func (c cache) save(sums map[string]diskimage.Sum) {
	if c.dir == "" || len(sums) == 0 || os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	var text strings.Builder
	for tag, sum := range sums {
		fmt.Fprintf(&text, "%v  %s\n", sum, tag)
	}
	out, err := diskimage.Create(c.dir, diskimage.Replace, c.name)
	if err != nil {
		return
	}
	defer out.Abort()
	if _, err := out.Files[0].WriteAt([]byte(text.String()), 0); err != nil || out.Commit() != nil {
		return
	}
	old, _ := filepath.Glob(filepath.Join(c.dir, c.image+"*")) // the pattern is a good one
	for _, name := range old {
		if filepath.Base(name) != c.name {
			os.Remove(name)
		}
	}
}
