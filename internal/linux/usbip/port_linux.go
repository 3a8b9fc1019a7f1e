package usbip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Port is a port of the machine's virtual host controllers for devices of high speed.
// The first is 0.
type Port int

// hostDir is a virtual host controller, by number. It has a bus for devices of high speed
// and one for USB 3.
const hostDir = "/sys/devices/platform/vhci_hcd.%d"

// Import plugs a device in: from then on the kernel talks to it through the end
// of a stream. The kernel keeps that end until the other end is closed; socket may be
// closed at once. The error matches [unix.EBUSY] if the port is not free, or not yet.
//
// A port is not free either while the kernel has an earlier device there. The kernel's hub
// driver, where it is slow to notice both, takes a device with the same descriptors for
// the earlier one, since the virtual hub leaves the port enabled.
func (p Port) Import(socket *os.File, d Device) error {
	number, place, err := p.find()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(place); err == nil {
		return fmt.Errorf("import into USB port %d: an earlier device is still there: %w", number, unix.EBUSY)
	}
	device := d.Bus<<16 | d.Number
	err = writeFD(fmt.Sprintf(hostDir, 0)+"/attach", "%[2]d %[1]d %[3]d %[4]d", socket, number, device, uint32(d.Speed))
	if err != nil {
		return fmt.Errorf("import into USB port %d: %w", number, err)
	}
	return nil
}

// find returns what the kernel calls the port, and the directory of a device in it.
func (p Port) find() (number int, place string, err error) {
	left := int(p)
	for host := 0; ; host++ {
		ports, err := fastPorts(host)
		if host > 0 && errors.Is(err, fs.ErrNotExist) {
			return 0, "", fmt.Errorf("USB port %d: there are %d", p, int(p)-left)
		}
		if err != nil {
			return 0, "", fmt.Errorf("%w: want the kernel module vhci-hcd", err)
		}
		if left < len(ports) {
			bus, err := fastBus(host)
			return ports[left], fmt.Sprintf(hostDir+"/usb%s/%[2]s-%d", host, bus, left+1), err
		}
		left -= len(ports)
	}
}

// fastPorts returns the numbers of a controller's ports for devices of high speed. The
// first controller has the lists of all, each in a file: hub, number and more, in columns.
func fastPorts(host int) (numbers []int, err error) {
	list := fmt.Sprintf(hostDir, 0) + "/status"
	if host > 0 {
		list += "." + strconv.Itoa(host)
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) < 2 || columns[0] != "hs" {
			continue
		}
		number, err := strconv.Atoi(columns[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list, err)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}

// fastBus returns the number of a controller's bus for devices of high speed.
func fastBus(host int) (string, error) {
	dir := fmt.Sprintf(hostDir, host)
	speeds, err := filepath.Glob(dir + "/usb*/speed")
	if err != nil {
		return "", err
	}
	for _, name := range speeds {
		if text, err := os.ReadFile(name); err == nil && string(text) == "480\n" {
			return strings.TrimPrefix(filepath.Base(filepath.Dir(name)), "usb"), nil
		}
	}
	return "", fmt.Errorf("%s has no bus of high speed", dir)
}
