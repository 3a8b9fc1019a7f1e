package card

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errSystem is for systems whose disks are not written to.
var errSystem error

func isDisk(info fs.FileInfo) bool { return info.Mode()&fs.ModeDevice != 0 }

// diskutil runs diskutil(8), by which alone macOS tells of disks and unmounts them.
func diskutil(args ...string) ([]byte, error) {
	cmd := exec.Command("/usr/sbin/diskutil", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("diskutil %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// List returns the disks that there are.
func List() ([]Disk, error) {
	out, err := diskutil("list", "-plist", "physical")
	if err != nil {
		return nil, err
	}
	value, err := readPlist(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("diskutil list: %w", err)
	}
	v, _ := value.(map[string]any)
	names, _ := v["WholeDisks"].([]any)
	var disks []Disk
	for _, name := range names {
		id, _ := name.(string)
		d, err := disk(id)
		if err != nil {
			continue // it was taken out meanwhile
		}
		disks = append(disks, d)
	}
	return disks, nil
}

func disk(id string) (Disk, error) {
	info, err := diskutil("info", "-plist", id)
	if err != nil {
		return Disk{}, err
	}
	list, err := diskutil("list", "-plist", id)
	if err != nil {
		return Disk{}, err
	}
	return diskutilInfo(info, list)
}

// findDisk returns the disk whose device has a path: /dev/disk4, or /dev/rdisk4.
func findDisk(path string, _ fs.FileInfo) (Disk, error) {
	return disk(strings.TrimPrefix(filepath.Base(path), "r"))
}

// A rawDevice is the raw device of a disk, which the page cache knows nothing of.
type rawDevice struct {
	*os.File
	path string // of the disk
}

// Open opens a disk for an image of size bytes, after it was unmounted.
func Open(d Disk, size int64) (Device, error) {
	if d.file {
		return openFile(d, size)
	}
	if _, err := diskutil("unmountDisk", d.Path); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	now, err := disk(filepath.Base(d.Path))
	if err != nil {
		return nil, err
	}
	if now.Size != d.Size || now.Model != d.Model {
		return nil, fmt.Errorf("%s: is another card than a moment ago", d.Path)
	}
	f, err := os.OpenFile("/dev/r"+filepath.Base(d.Path), os.O_RDWR|unix.O_EXLOCK|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: run it with sudo", err)
	}
	return rawDevice{f, d.Path}, err
}

// synchronizeCache is DKIOCSYNCHRONIZECACHE of sys/disk.h.
const synchronizeCache = 0x20006416

func (r rawDevice) Sync() error {
	err := unix.IoctlSetInt(int(r.Fd()), synchronizeCache, 0)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOTSUP) {
		return nil // a reader without a cache
	}
	return os.NewSyscallError("DKIOCSYNCHRONIZECACHE", err)
}

// Finish does nothing: macOS looks at the disk once it is closed.
func (r rawDevice) Finish() error { return nil }

func (r rawDevice) Discard() error { return errors.ErrUnsupported }

func (r rawDevice) Gone() bool {
	_, err := os.Stat(r.path)
	return err != nil
}

// dropCache has what is read of a file come from its disk from now on.
func dropCache(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1)
	return os.NewSyscallError("F_NOCACHE", err)
}
