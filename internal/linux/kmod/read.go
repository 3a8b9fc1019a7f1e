package kmod

import (
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"clusterctrl/internal/format/xz"
)

// The largest module of Debian's kernels (amdgpu) has 20 MiB.
const maxModule = 64 << 20

// compressed tells whether a module has to be decompressed before it is given to
// the kernel. Not every kernel can do that by itself.
func compressed(file string) bool { return path.Ext(file) != ".ko" }

// Read returns a module as its compiler left it.
func Read(dir fs.FS, file string) ([]byte, error) {
	f, err := dir.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(f, path.Ext(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer r.Close()
	module, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(module) > maxModule {
		return nil, fmt.Errorf("%s: a module of more than %d bytes", file, maxModule)
	}
	return module, nil
}

func decompress(r io.Reader, extension string) (io.ReadCloser, error) {
	switch extension {
	case ".ko":
		return io.NopCloser(r), nil
	case ".xz":
		return io.NopCloser(xz.NewReader(r, xz.DefaultMaxDict)), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("compression %q: want .xz, .zst or .gz", extension)
}
