package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

// maxUnpacked bounds what a packed archive is unpacked to, in bytes.
const maxUnpacked = 512 << 20

// Exchange gives an archive that [Archive.Write] wrote, packed or not, the modules of
// another kernel in place of its own: those of the same names, and of the names in also,
// as far as that kernel has them.
func Exchange(archive []byte, modules fs.FS, also []string) ([]byte, error) {
	unpacked, err := unpack(archive)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(unpacked)))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var kept []cpio.Record
	names := also
	for _, r := range records {
		if path.Dir(r.Name) == moduleDir {
			_, name, _ := strings.Cut(path.Base(r.Name), "-")
			names = append(names[:len(names):len(names)], name)
		} else {
			kept = append(kept, r)
		}
	}
	loaded, err := Archive{AlsoIf: names}.modules(modules)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = write(&b, append(kept, loaded...))
	return b.Bytes(), err
}

// unpack returns an archive as it was before it was packed.
func unpack(archive []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(archive, []byte("07070")): // cpio
		return archive, nil
	case bytes.HasPrefix(archive, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(bytes.NewReader(archive))
	case bytes.HasPrefix(archive, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err = zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1))
	default:
		err = errors.New("neither cpio nor packed by gzip or zstd")
	}
	if err != nil {
		return nil, err
	}
	unpacked, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if len(unpacked) > maxUnpacked {
		err = fmt.Errorf("more than %d bytes", maxUnpacked)
	}
	return unpacked, err
}
