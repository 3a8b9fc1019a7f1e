package board

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/node"
)

// A Plug is the plug of a board in this machine.
type Plug struct {
	*usb.Plug
	Number int // of its I2C bus
}

// PlugIn plugs a board into a virtual USB port of this machine. It does the work of
// udev's rules on a controller: it binds the driver to the board, and links
// /dev/ClusterCTRL-<bus> to the bus. The machine must have the modules vhci-hcd,
// i2c-tiny-usb and i2c-dev, and no udev.
func PlugIn(ctx context.Context, port usbip.Port, b *Bus) (Plug, error) {
	if b.Vendor == node.VendorID {
		id := fmt.Sprintf("%04x %04x", b.Vendor, b.Product)
		err := os.WriteFile("/sys/bus/usb/drivers/i2c-tiny-usb/new_id", []byte(id), 0)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return Plug{}, err
		}
	}
	before := buses()
	plug, err := usb.PlugIn(ctx, port, b)
	if err != nil {
		return Plug{}, err
	}
	p := Plug{plug, -1}
	err = uevent.Wait(ctx, func() (bool, error) {
		for _, name := range buses() {
			if !slices.Contains(before, name) {
				_, err := fmt.Sscanf(name, busPattern, &p.Number)
				return true, err
			}
		}
		return false, nil
	}, "i2c-dev")
	if err == nil && b.Vendor == node.VendorID {
		err = os.Symlink(filepath.Base(p.device()), p.link())
	}
	return p, err
}

// Remove pulls the plug and waits until nothing is left of the board.
func (p Plug) Remove(ctx context.Context) error {
	p.Pull()
	err := p.Wait()
	gone := uevent.Wait(ctx, func() (bool, error) { return !slices.Contains(buses(), p.device()), nil }, "i2c-dev")
	if removed := os.Remove(p.link()); !errors.Is(removed, os.ErrNotExist) {
		gone = errors.Join(gone, removed)
	}
	return errors.Join(err, gone)
}

const busPattern = "/dev/i2c-%d"

func (p Plug) device() string { return fmt.Sprintf(busPattern, p.Number) }
func (p Plug) link() string   { return fmt.Sprintf("/dev/ClusterCTRL-%d", p.Number) }

func buses() []string {
	names, err := filepath.Glob("/dev/i2c-*")
	if err != nil {
		panic(err) // a pattern in this file is malformed
	}
	return names
}
