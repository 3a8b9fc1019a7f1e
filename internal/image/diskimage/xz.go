package diskimage

import (
	"context"
	"errors"
	"io"
	"runtime"

	"clusterctrl/internal/format/xz"
)

func openXZ(r io.Reader) (io.ReadCloser, error) {
	return io.NopCloser(xz.NewReader(r, xz.DefaultMaxDict)), nil
}

// openIndex reads the index of an xz file. Only if it tells of several blocks,
// so that there is work for several cores, the index will be used to decode.
func (in *Input) openIndex() error {
	if in.file == nil {
		return nil
	}
	index, err := xz.OpenIndex(in.file, in.packed)
	if err != nil {
		return in.decodeError(err)
	}
	in.size = index.Size()
	if index.MaxBlock() <= in.size/2 {
		in.index = index
	}
	return nil
}

// decodeIndex decodes as many blocks at a time as there are cores.
func (in *Input) decodeIndex(ctx context.Context, w *writer) (int64, error) {
	if in.size > maxSize {
		return 0, in.tooLarge()
	}
	err := in.index.Decode(ctx, runtime.GOMAXPROCS(0), xz.DefaultMaxDict, w.write)
	switch failed, ok := errors.AsType[*writeError](err); {
	case err == nil:
		return in.size, nil
	case ok:
		return 0, failed
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	}
	return 0, in.decodeError(err)
}
