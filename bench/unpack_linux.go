package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/diskimage"
)

// unpackVerb makes this program an unpacker, so that ours is a process as theirs is.
const unpackVerb = "unpack"

// runUnpack does "unpack [FILE [OUT]]": from standard input, a pipe, or from
// FILE; to nothing or to the new, sparse file OUT.
func runUnpack(ctx context.Context, args []string) error {
	switch len(args) {
	case 1:
		_, err := io.Copy(io.Discard, xz.NewReader(os.Stdin, xz.DefaultMaxDict))
		return err
	case 2:
		return unpackToNothing(ctx, args[1])
	case 3:
		return unpackTo(ctx, args[1], args[2])
	}
	return fmt.Errorf("unpack: got %d arguments: want FILE and OUT at most", len(args)-1)
}

func unpackToNothing(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	index, err := xz.OpenIndex(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return index.Decode(ctx, runtime.GOMAXPROCS(0), xz.DefaultMaxDict, func(int64, []byte) error { return nil })
}

func unpackTo(ctx context.Context, name, out string) error {
	in, err := diskimage.Open(name, nil)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	_, err = in.Decode(ctx, []*os.File{f}, diskimage.Sparse, nil)
	return errors.Join(err, f.Close())
}
