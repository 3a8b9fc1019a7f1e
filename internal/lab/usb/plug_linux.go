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

// PlugIn plugs a device into a virtual USB port of this machine, as soon as an
// earlier device's end has freed it, until ctx ends. The kernel looks at it when
// PlugIn has returned.
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

// Wait waits until the device is not played any more, because its plug was pulled or the
// kernel has let go. It returns the error in the kernel's messages, if any.
func (p *Plug) Wait() error {
	return errors.Join(<-p.served, p.cable.Close())
}
