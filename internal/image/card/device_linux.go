package card

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errSystem is for systems whose disks are not written to.
var errSystem error

func isDisk(info fs.FileInfo) bool { return info.Mode().Type() == fs.ModeDevice }

// A blockDevice is a disk that is open past the page cache, for us alone.
type blockDevice struct {
	*os.File
	number   uint64
	size     int64
	sequence uint64
}

// Open opens a disk for an image of size bytes. The disk must still be what it was
// when it was found: another card may have come in its place.
func Open(d Disk, size int64) (Device, error) {
	if d.file {
		return openFile(d, size)
	}
	// With O_EXCL and no O_CREAT, Linux does not open a block device that is mounted or
	// has another in-kernel user, and lets none mount it as long as it is open.
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%s: is in use: want a card that is not", d.Path)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: run it with sudo", err)
	case err != nil:
		return nil, err
	}
	b := &blockDevice{File: f, size: d.Size, sequence: d.sequence}
	if err := b.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", d.Path, err), f.Close())
	}
	return b, nil
}

// check says whether the disk is the one that was found.
func (b *blockDevice) check() error {
	info, err := b.Stat()
	if err != nil {
		return err
	}
	b.number = uint64(info.Sys().(*unixStat).Rdev)
	var size uint64
	if err := b.ioctl(unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); err != nil {
		return err
	}
	if int64(size) != b.size || b.Gone() {
		return errors.New("is another card than a moment ago")
	}
	return nil
}

func (b *blockDevice) ioctl(request, argument uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, b.Fd(), request, argument)
	if errno != 0 {
		return errno
	}
	return nil
}

// Finish has the kernel read the partition table. Disks that can have no partitions
// say that the request is invalid.
func (b *blockDevice) Finish() error {
	err := b.ioctl(unix.BLKRRPART, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return os.NewSyscallError("BLKRRPART", err)
}

func (b *blockDevice) Discard() error {
	whole := [2]uint64{0, uint64(b.size)} // from, bytes
	err := b.ioctl(unix.BLKDISCARD, uintptr(unsafe.Pointer(&whole)))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("BLKDISCARD", err)
}

// Gone reports whether the disk, or the card in the reader, is not there any more.
func (b *blockDevice) Gone() bool {
	dir := linux.numbered(b.number)
	if _, err := os.Stat(dir); err != nil {
		return true
	}
	sequence, err := readNumber(dir + "/diskseq")
	return err == nil && b.sequence != 0 && uint64(sequence) != b.sequence
}

// dropCache has what is read of a file come from its disk.
func dropCache(f *os.File) error {
	return os.NewSyscallError("fadvise", unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}
