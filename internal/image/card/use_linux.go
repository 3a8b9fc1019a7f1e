package card

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

type unixStat = syscall.Stat_t

// use says what a disk, or one of its partitions, is in use for, by its directory in
// sysfs; empty if for nothing. A use that it overlooks, such as a mount in the namespace
// of another process, keeps the disk from being opened.
func (k kernel) use(dir string) (string, error) {
	parts, err := filepath.Glob(filepath.Join(dir, "*/partition"))
	if err != nil {
		return "", err
	}
	dirs := []string{dir}
	for _, p := range parts {
		dirs = append(dirs, filepath.Dir(p))
	}
	numbers := map[string]bool{}
	for _, d := range dirs {
		numbers[readText(filepath.Join(d, "dev"))] = true
		if what := k.holder(d); what != "" {
			return what, nil
		}
	}
	for _, look := range []func(map[string]bool) (string, error){k.mounted, k.swapped} {
		if what, err := look(numbers); what != "" || err != nil {
			return what, err
		}
	}
	return k.pooled(dirs)
}

// holder says which device is made of a disk or partition: by LVM, RAID or encryption.
func (k kernel) holder(dir string) string {
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil || len(holders) == 0 {
		return ""
	}
	name := holders[0].Name()
	if mapped := readText(filepath.Join(dir, "holders", name, "dm/name")); mapped != "" {
		name = mapped
	}
	return "is a part of " + name
}

// mounted says where a disk is mounted.
func (k kernel) mounted(numbers map[string]bool) (string, error) {
	text, err := os.ReadFile(filepath.Join(k.proc, "self/mountinfo"))
	if err != nil {
		return "", err
	}
	found := ""
	for line := range strings.Lines(string(text)) {
		// ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS
		before, behind, _ := strings.Cut(line, " - ")
		words, source := strings.Fields(before), strings.Fields(behind)
		if len(words) < 5 || len(source) < 2 {
			return "", fmt.Errorf("mountinfo: %q", line)
		}
		// btrfs has a number of its own, and tells the device as its source.
		if !numbers[words[2]] && !numbers[deviceNumber(unescape(source[1]))] {
			continue
		}
		point := unescape(words[4])
		if point == "/" {
			return "holds the running system", nil
		}
		if found == "" {
			found = "is mounted at " + point
		}
	}
	return found, nil
}

// swapped says whether a disk is used as memory.
func (k kernel) swapped(numbers map[string]bool) (string, error) {
	text, err := os.ReadFile(filepath.Join(k.proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // a kernel without swap
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		if numbers[deviceNumber(unescape(name))] {
			return "is in use as swap", nil
		}
	}
	return "", nil
}

// pooled says whether a disk belongs to a mounted btrfs of several disks: the table of
// mounts tells only one of them.
func (k kernel) pooled(dirs []string) (string, error) {
	devices, err := filepath.Glob(filepath.Join(k.sys, "fs/btrfs/*/devices/*"))
	for _, d := range devices {
		if slices.ContainsFunc(dirs, func(dir string) bool { return filepath.Base(dir) == filepath.Base(d) }) {
			return "is a part of a mounted btrfs", nil
		}
	}
	return "", err
}

// deviceNumber returns the number of the block device at a path as sysfs writes it,
// "" if there is none.
func deviceNumber(path string) string {
	if !strings.HasPrefix(path, "/dev/") {
		return "" // the name of a server or of a file system without a disk
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != fs.ModeDevice {
		return ""
	}
	return numberText(uint64(info.Sys().(*unixStat).Rdev))
}

// unescape reads a name as the kernel writes it in tables: blanks, say, as \040.
func unescape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if len(s) >= 4 && s[0] == '\\' {
			if n, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}
