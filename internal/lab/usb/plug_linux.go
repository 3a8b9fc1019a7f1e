package usb

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/linux/usbip"
)

// A Plug is the plug of a device in this machine.
type Plug struct {
	cable  *os.File
	served chan error // what Serve returned
	pull   sync.Once
}

// PlugIn plugs a device into a virtual USB port of this machine until ctx ends. Where an
// earlier device is on its way out of the port, PlugIn waits for that. The kernel asks the
// device who it is after PlugIn has returned.
func PlugIn(ctx context.Context, port usbip.Port, d Device) (*Plug, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	kernel := os.NewFile(uintptr(fds[1]), "the kernel's end")
	defer kernel.Close()
	p := &Plug{cable: os.NewFile(uintptr(fds[0]), "the device's end"), served: make(chan error, 1)}
	go func() { p.served <- Serve(p.cable, d) }()
	if err := cable.AttachController(port)(ctx, kernel); err != nil {
		p.Pull()
		return nil, errors.Join(err, p.Wait())
	}
	return p, nil
}

// Pull pulls the plug, also from within a method of the device. The kernel notices
// a moment later.
func (p *Plug) Pull() {
	p.pull.Do(func() { unix.Shutdown(int(p.cable.Fd()), unix.SHUT_RDWR) })
}

// Wait waits until the plug is pulled or the kernel lets the device go. It returns an error
// if a message of the kernel was wrong.
func (p *Plug) Wait() error {
	return errors.Join(<-p.served, p.cable.Close())
}
