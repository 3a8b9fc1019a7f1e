package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// besideRoot returns the device of the partition with a number on the disk that holds the
// root. The error wraps [fs.ErrNotExist] if there is none.
func besideRoot(number int) (string, error) {
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		return "", &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	dev := uint64(root.Dev)
	// In sysfs, a partition is a directory within that of its disk.
	here, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return "", err
	}
	numbers, err := filepath.Glob(filepath.Join(filepath.Dir(here), "*", "partition"))
	if err != nil {
		return "", err
	}
	for _, name := range numbers {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(number) {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(name))), nil
		}
	}
	return "", fmt.Errorf("partition %d beside the root: %w", number, fs.ErrNotExist)
}
