package diskimage

import (
	"archive/zip"
	"fmt"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"
)

// openZip finds the image in a zip file.
func (in *Input) openZip() error {
	if in.file == nil {
		return fmt.Errorf("%s: a zip file cannot be read from a pipe; name the file", in.name)
	}
	z, err := zip.NewReader(in.file, in.packed)
	if err != nil {
		return in.decodeError(err)
	}
	z.RegisterDecompressor(zip.Deflate, flate.NewReader)
	f, err := theImage(z)
	if err != nil {
		return fmt.Errorf("%s: %w", in.name, err)
	}
	if f.UncompressedSize64 > maxSize {
		return in.decodeError(fmt.Errorf("%s of %d bytes", f.Name, f.UncompressedSize64))
	}
	in.member, in.image, in.size = f, path.Base(f.Name), int64(f.UncompressedSize64)
	return nil
}

// theImage returns the only image in a zip file.
func theImage(z *zip.Reader) (*zip.File, error) {
	const encrypted = 1 // bit of Flags
	var all, images []string
	var found *zip.File
	for _, f := range z.File {
		all = append(all, f.Name)
		if isImage(f.Name) {
			images = append(images, f.Name)
			found = f
		}
	}
	switch {
	case len(images) > 1:
		return nil, fmt.Errorf("holds %d images, want one: %s", len(images), strings.Join(images, ", "))
	case found == nil:
		return nil, fmt.Errorf("holds no .img: %s", strings.Join(all[:min(len(all), 8)], ", "))
	case found.Flags&encrypted != 0:
		return nil, fmt.Errorf("%s: is encrypted", found.Name)
	case found.Method != zip.Deflate && found.Method != zip.Store:
		return nil, fmt.Errorf("%s: packed by method %d; want deflate or store", found.Name, found.Method)
	}
	return found, nil
}

// isImage leaves out what macOS adds to a zip file: "._x.img" with attributes.
func isImage(name string) bool {
	return strings.EqualFold(path.Ext(name), ".img") && !strings.HasPrefix(path.Base(name), "._")
}
