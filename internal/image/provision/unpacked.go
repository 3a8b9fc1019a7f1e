package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"clusterctrl/internal/image/diskimage"
)

// An unpacked is a raw image in a file: that of the input itself, to be read only, or
// a temporary one, which is gone once it is closed.
type unpacked struct {
	*os.File
	size      int64
	temporary bool
	removed   bool // already, as far as its name goes
}

// unpack returns the raw image of an input, which stays open as long as that does.
func unpack(ctx context.Context, in *diskimage.Input, progress Progress) (unpacked, error) {
	if raw := in.Raw(); raw != nil {
		return unpacked{File: raw, size: in.Size()}, in.Check(ctx)
	}
	disk, err := createUnpacked()
	if err != nil {
		return unpacked{}, err
	}
	if err := checkSpace(largeTemp(), in, 1, nil); err != nil {
		return unpacked{}, errors.Join(fmt.Errorf("%w in TMPDIR", err), disk.Close())
	}
	show := progress.start("unpack", in.Size())
	disk.size, err = in.Decode(ctx, []*os.File{disk.File}, diskimage.Sparse, show)
	if err := errors.Join(err, show.Close()); err != nil {
		return unpacked{}, errors.Join(err, disk.Close())
	}
	debug.FreeOSMemory() // of the decoders' blocks: what is done with the image takes little
	return disk, nil
}

// createUnpacked makes a temporary file. Where a file in use can be removed, that is done
// at once, so that nothing is left behind however this run ends.
func createUnpacked() (unpacked, error) {
	disk, err := os.CreateTemp(largeTemp(), "clusterctrl-*.img")
	if err != nil {
		return unpacked{}, fmt.Errorf("temporary file: %w", err)
	}
	removed := os.Remove(disk.Name()) == nil
	return unpacked{disk, 0, true, removed}, nil
}

// largeTemp is where temporary files of gigabytes go: /tmp is memory on some systems.
func largeTemp() string {
	const onDisk = "/var/tmp" // Filesystem Hierarchy Standard 3.0, section 5.15
	if info, err := os.Stat(onDisk); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		return onDisk
	}
	return os.TempDir()
}

// Close closes a temporary file; that of an input is the input's to close.
func (u unpacked) Close() error {
	if !u.temporary {
		return nil
	}
	err := u.File.Close()
	if !u.removed {
		err = errors.Join(err, os.Remove(u.Name()))
	}
	return err
}
