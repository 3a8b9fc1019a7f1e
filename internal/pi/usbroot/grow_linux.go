package usbroot

import (
	"errors"
	"io"
	"os"
	"unsafe"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/mbr"
	"golang.org/x/sys/unix"
)

// The vendor's initramfs grows the root of a card at its first boot. A disk's root
// grows here, at any boot that finds room: a power cut between the steps costs nothing.

// leastGrowth is the room that is worth it, in bytes: a group of blocks of ext4. The
// kernel leaves a rest that is no group.
const leastGrowth = 128 << 20

// extend makes a partition reach to the end of the disk, if it is the last one, and has
// the kernel read the table anew. No partition may be in use.
func extend(disk *os.File, number int) error {
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	table, err := mbr.Read(disk, size)
	if err != nil {
		return err
	}
	p := table.Partitions[number-1]
	for _, other := range table.Partitions {
		if other.Start > p.Start {
			return nil
		}
	}
	wanted := (size - p.Start) / mbr.SectorSize * mbr.SectorSize
	if wanted-p.Size < leastGrowth {
		return nil
	}
	if err := mbr.Grow(disk, size, number, wanted); err != nil {
		return err
	}
	if err := disk.Sync(); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(int(disk.Fd()), unix.BLKRRPART, 0); err != nil {
		return os.NewSyscallError("read the partition table anew", err)
	}
	say("partition %d grew from %d to %d MiB", number, p.Size>>20, wanted>>20)
	return nil
}

// ext4Resize is the ioctl EXT4_IOC_RESIZE_FS (linux/ext4.h), which takes the number of
// blocks that a mounted file system is to have.
const ext4Resize = 0x40086610

// growFileSystem has the kernel grow the mounted root to the size of its partition, which
// needs no program of the system's. It is in the journal: a power cut does no harm.
func growFileSystem(partition string) error {
	device, err := os.Open(partition)
	if err != nil {
		return err
	}
	defer device.Close()
	size, err := device.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	fsys, err := ext4.Open(device, size)
	if err != nil {
		return err
	}
	info := fsys.Info()
	blockSize := int64(info.BlockSize)
	if size-info.Blocks*blockSize < leastGrowth {
		return nil
	}
	if err := remount(0); err != nil {
		return err
	}
	if err := errors.Join(resize(uint64(size/blockSize)), remount(unix.MS_RDONLY)); err != nil {
		return err
	}
	say("%s grew from %d to %d MiB", partition, info.Blocks*blockSize>>20, size>>20)
	return nil
}

func resize(blocks uint64) error {
	root, err := os.Open(newRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), ext4Resize, uintptr(unsafe.Pointer(&blocks)))
	if errno != 0 {
		return os.NewSyscallError("resize", errno)
	}
	return nil
}
