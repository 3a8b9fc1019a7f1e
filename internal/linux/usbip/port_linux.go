package usbip

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Port is a port of the machine's virtual host controllers for devices of high speed.
// The first is 0.
type Port int

const hostDir = "/sys/devices/platform/vhci_hcd.0"

// Import plugs a device in: from then on the kernel talks to it through the end
// of a stream. The kernel keeps that end until the other end is closed; socket may be
// closed at once. The error matches [unix.EBUSY] if the port is not free, or not yet.
func (p Port) Import(socket *os.File, d Device) error {
	number, err := p.number()
	if err != nil {
		return err
	}
	device := d.Bus<<16 | d.Number
	err = writeFD(filepath.Join(hostDir, "attach"), "%[2]d %[1]d %[3]d %[4]d", socket, number, device, uint32(d.Speed))
	if err != nil {
		return fmt.Errorf("import into USB port %d: %w", number, err)
	}
	return nil
}

// number is what the kernel calls the port. Each controller lists its ports in a
// file: hub, number and more, in columns.
func (p Port) number() (int, error) {
	names, err := filepath.Glob(filepath.Join(hostDir, "status*"))
	if err != nil {
		return 0, err
	}
	if len(names) == 0 {
		return 0, fmt.Errorf("no virtual USB host controller in %s: want the kernel module vhci-hcd", hostDir)
	}
	var numbers []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if columns := strings.Fields(line); len(columns) > 1 && columns[0] == "hs" {
				numbers = append(numbers, columns[1])
			}
		}
	}
	if int(p) >= len(numbers) {
		return 0, fmt.Errorf("USB port %d: there are %d", p, len(numbers))
	}
	return strconv.Atoi(numbers[p])
}
