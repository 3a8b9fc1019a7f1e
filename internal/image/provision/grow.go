package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/tree/rootfs"
)

// grow extends the image of a build, if that is wanted.
func (b *build) grow(ctx context.Context) (err error) {
	b.size, err = b.Options.grow(ctx, b.raw()[0].File, b.size)
	return err
}

// grow extends an image of size bytes, its second partition and the file system in it, if
// that is wanted, and returns its new size. The program resize2fs extends the file
// system.
func (o Options) grow(ctx context.Context, disk *os.File, size int64) (int64, error) {
	if !o.Settings.Grows() {
		return size, nil
	}
	image, err := rootfs.OpenImage(disk, size)
	if err != nil {
		return 0, err
	}
	system, err := rootfs.Identify(image)
	if err != nil {
		return 0, err
	}
	by := o.Settings.GrowOf(system.Flavour)
	if by == 0 {
		return size, nil
	}
	by += -by & (growUnit - 1)
	root := image.Table.Partitions[1]
	for n, p := range image.Table.Partitions {
		if p.Start > root.Start {
			return 0, fmt.Errorf("partition %d lies behind the root: there is no room to grow", n+1)
		}
	}
	end := root.Start + root.Size + by
	if err := o.resize(ctx, disk, root, root.Size+by, o.timeOf(image)); err != nil {
		return 0, err
	}
	size = max(size, end)
	if err := disk.Truncate(size); err != nil {
		return 0, err
	}
	return size, mbr.Grow(disk, size, 2, root.Size+by)
}

// growUnit keeps partitions aligned as flash memory wants it, in bytes.
const growUnit = 4 << 20

// resize extends the file system in a partition. The file system gets a file of its own
// for that, since resize2fs cuts off what lies behind it. Left alone, resize2fs would
// stamp it with the time of day, and later changes would take that time: both get stamp.
func (o Options) resize(ctx context.Context, disk *os.File, root mbr.Partition, size int64, stamp time.Time) error {
	program, err := resizeProgram()
	if err != nil {
		return err
	}
	temp, err := diskimage.Create(o.Dir, diskimage.Replace, "root.img")
	if err != nil {
		return err
	}
	defer temp.Abort()
	part := temp.Files[0].File
	if err := diskimage.CopyRange(ctx, part, 0, disk, root.Start, root.Size); err != nil {
		return err
	}
	if err := part.Truncate(size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "-f", part.Name())
	cmd.Env = append(os.Environ(), fmt.Sprint("E2FSPROGS_FAKE_TIME=", stamp.Unix()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("resize2fs: %s: %w", lastLine(out), err)
	}
	if err := disk.Truncate(root.Start); err != nil {
		return err
	}
	return diskimage.CopyRange(ctx, disk, root.Start, part, 0, size)
}

// resizeProgram finds resize2fs, which users who are not root may not have on
// their path.
func resizeProgram() (string, error) {
	for _, name := range []string{"resize2fs", "/usr/sbin/resize2fs", "/sbin/resize2fs", "/opt/homebrew/opt/e2fsprogs/sbin/resize2fs", "/usr/local/opt/e2fsprogs/sbin/resize2fs"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("to grow the root, install resize2fs (package e2fsprogs), or leave out grow")
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
