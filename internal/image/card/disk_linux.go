package card

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A kernel is where Linux tells of its disks (Documentation/ABI/stable/sysfs-block).
type kernel struct{ sys, proc string }

var linux = kernel{"/sys", "/proc"}

// kernelSector is the unit of sizes in /sys, in bytes, whatever the sectors of a disk.
const kernelSector = 512

// List returns all disks, except those that cannot hold anything, such as loop devices
// without a file.
func List() ([]Disk, error) {
	names, err := os.ReadDir(filepath.Join(linux.sys, "block"))
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, name := range names {
		d, err := linux.disk(name.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was taken out meanwhile
		}
		if err != nil {
			return nil, err
		}
		if (d.Size > 0 || d.Removable) && !bootArea.MatchString(name.Name()) {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// bootArea matches the names of those parts of an MMC chip that are no disks.
var bootArea = regexp.MustCompile(`^mmcblk\d+(boot\d+|rpmb|gp\d+)$`)

// findDisk returns the disk whose device has a path, which may lead through links.
func findDisk(path string, info fs.FileInfo) (Disk, error) {
	number := info.Sys().(*unixStat).Rdev
	dir, err := filepath.EvalSymlinks(linux.numbered(number))
	if err != nil {
		return Disk{}, fmt.Errorf("%s: %w", path, err)
	}
	name := filepath.Base(dir)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return Disk{}, fmt.Errorf("%s: is a partition: want the whole card, /dev/%s", path, filepath.Base(filepath.Dir(dir)))
	}
	if bootArea.MatchString(name) {
		return Disk{}, fmt.Errorf("%s: is a part of a chip for its firmware: want a card", path)
	}
	d, err := linux.disk(name)
	if err != nil {
		return Disk{}, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// numbered is the directory in sysfs of the disk or partition with a device number.
func (k kernel) numbered(number uint64) string {
	return filepath.Join(k.sys, "dev/block", numberText(number))
}

func numberText(number uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
}

// disk returns what the kernel tells of a disk, and what is on it.
func (k kernel) disk(name string) (Disk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(k.sys, "block", name))
	if err != nil {
		return Disk{}, err
	}
	path, removable := "/dev/"+strings.ReplaceAll(name, "!", "/"), readText(filepath.Join(dir, "removable")) == "1"
	if removable {
		// The kernel looks for a new card when a program opens the reader.
		if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}
	sectors, err := readNumber(filepath.Join(dir, "size"))
	if err != nil {
		return Disk{}, err
	}
	sectorSize, err := readNumber(filepath.Join(dir, "queue/logical_block_size"))
	if err != nil {
		return Disk{}, err
	}
	d := Disk{
		Path:       path,
		Size:       sectors * kernelSector,
		SectorSize: int(sectorSize),
		Removable:  removable,
		ReadOnly:   readText(filepath.Join(dir, "ro")) == "1",
		Bus:        bus(dir),
	}
	sequence, _ := readNumber(filepath.Join(dir, "diskseq")) // since Linux 5.15
	d.sequence = uint64(sequence)
	d.Model, d.Serial = identity(dir)
	if d.InUse, err = k.use(dir); err != nil {
		return Disk{}, err
	}
	k.look(&d, dir)
	return d, nil
}

// look looks at what is on a disk, as far as its device may be read.
func (k kernel) look(d *Disk, dir string) {
	if d.Size == 0 {
		return
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return
	}
	defer f.Close()
	parts, err := k.partitions(dir)
	if err != nil {
		return
	}
	if len(parts) == 0 { // not every device can have some, but may hold a card's image
		parts = partitions(f, d.Size)
	}
	d.Content = content(f, d.Size, parts)
	if what := member(f, append(parts, part{0, d.Size})); what != "" && d.InUse == "" {
		d.InUse = "is a member of " + what
	}
}

// partitions returns the partitions of a disk that the kernel knows.
func (k kernel) partitions(dir string) (parts []part, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*/partition"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		start, err := readNumber(filepath.Join(filepath.Dir(name), "start"))
		if err != nil {
			return nil, err
		}
		size, err := readNumber(filepath.Join(filepath.Dir(name), "size"))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{start * kernelSector, size * kernelSector})
	}
	slices.SortFunc(parts, func(a, b part) int { return int(min(max(a.start-b.start, -1), 1)) })
	return parts, nil
}

var usbPort = regexp.MustCompile(`/usb\d+/`)

// bus says how a disk is connected, by its place among the devices.
func bus(dir string) string {
	switch {
	case usbPort.MatchString(dir):
		return "usb"
	case strings.Contains(dir, "/mmc_host/"):
		return "mmc"
	}
	return ""
}

// identity returns the model and the serial number of a disk. Those of a card in
// a reader on USB are the reader's.
func identity(dir string) (model, serial string) {
	device := filepath.Join(dir, "device")
	model = strings.TrimSpace(readText(filepath.Join(device, "vendor")) + " " + readText(filepath.Join(device, "model")))
	if name := readText(filepath.Join(device, "name")); name != "" && bus(dir) == "mmc" {
		model = name
	}
	for _, name := range []string{filepath.Join(device, "serial"), filepath.Join(dir, "serial")} {
		if serial == "" {
			serial = readText(name)
		}
	}
	for ; serial == "" && bus(dir) == "usb" && dir != "/"; dir = filepath.Dir(dir) {
		if readText(filepath.Join(dir, "idVendor")) != "" {
			return model, readText(filepath.Join(dir, "serial"))
		}
	}
	return model, serial
}

// readText returns what a file of sysfs says, "" if it is not there or says nothing
// that can be printed.
func readText(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return -1
		}
		return r
	}, string(text)))
}

func readNumber(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}
