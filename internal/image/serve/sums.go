package serve

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"runtime"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
)

// Sum finds out the SHA-256 of every image: from the SHA256SUMS beside the
// controller's where that can be relied on, from what an earlier run left in the
// directory cached, or by reading the image. It leaves the sums that it found in that
// directory, also when ctx ends. An empty cached stands for no directory.
func (s *Site) Sum(ctx context.Context, cached string, progress provision.Progress) (err error) {
	defer func() { s.summed.finish(err) }()
	cache := cacheOf(cached, s.images[0].file.source)
	noted, known := s.noted(), cache.load()
	var missing []*image
	for _, i := range s.images {
		sum, ok := noted[s.controller.ImageName(i.Role)]
		if !ok {
			sum, ok = known[i.file.etag()]
		}
		if ok {
			i.Sum = sum
		} else {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	found := maps.Clone(known)
	if found == nil {
		found = map[string]diskimage.Sum{}
	}
	defer func() { cache.save(found) }()
	show := progress("checksums", s.controller.Size*int64(len(missing)))
	defer show.Close()
	for len(missing) > 0 {
		n := min(runtime.GOMAXPROCS(0), len(missing))
		var patches []diskimage.Patch
		for _, i := range missing[:n] {
			patches = append(patches, i.file.patch)
		}
		sums, err := diskimage.HashPatched(ctx, s.controller.File, patches, show)
		if err != nil {
			return err
		}
		for k, i := range missing[:n] {
			i.Sum, found[i.file.etag()] = sums[k], sums[k]
		}
		missing = missing[n:]
	}
	return nil
}

// noted returns the sums in the SHA256SUMS beside the controller's image that certainly
// belong to the images that are served. A sum does not say when it was made: the list
// must be younger than the file that the sum is of, and that file must be younger than
// the controller's image, from which it was made. The controller's own sum may be older
// than the last change of its image.
func (s *Site) noted() map[string]diskimage.Sum {
	file := s.controller.File.Name()
	dir := filepath.Dir(file)
	controller, err := os.Stat(file)
	if err != nil {
		return nil
	}
	list, err := os.Stat(filepath.Join(dir, diskimage.SumsName))
	if err != nil {
		return nil
	}
	sums, err := diskimage.ReadSums(filepath.Join(dir, diskimage.SumsName))
	if err != nil {
		return nil // they are made anew
	}
	for name := range sums {
		image, err := os.Stat(filepath.Join(dir, name))
		if err != nil || os.SameFile(image, controller) || image.ModTime().Before(controller.ModTime()) || list.ModTime().Before(image.ModTime()) {
			delete(sums, name)
		}
	}
	return sums
}
