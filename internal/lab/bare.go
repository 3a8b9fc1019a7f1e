package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"clusterctrl/internal/lab/bootrom"
	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/initramfs"
)

// bare is the model of a node without a card, as far as its firmware goes: a Zero 2 W,
// the Pi with a 64-bit processor that boots over USB and fits a ClusterCTRL board.
var bare = model{
	kernel:   "kernel8.img",
	sections: []string{"all", "pi02"},
	trees: []deviceTree{
		{file: "bcm2710-rpi-zero-2-w.dtb"},
		{file: "bcm2710-rpi-zero-2.dtb"},
		{file: "bcm2837-rpi-zero-2-w.dtb"}, // Debian's kernel
	},
}

// A rom is the part of a bare node that comes before its kernel: the program in its ROM
// and the firmware, which ask for files over the cable.
type rom struct {
	kernel   Kernel // which the lab has modules for
	addition string // file of the lab's part of the initramfs
	cable    *cable.Cable
	dir      string // for what the node was given
	screen   io.Writer
}

// errPulled says that the cable's plug was pulled, or that the controller went off.
var errPulled = errors.New("no host any more")

// load gets what the machine starts. When the cable is pulled, the node begins again, as
// the watchdog of a real node has it do; it waits for a controller as long as it takes.
func (r *rom) load(ctx context.Context) (Software, error) {
	for {
		r.show("waiting for boot files over USB")
		files, err := r.fetch(ctx)
		if err == nil {
			return r.prepare(files)
		}
		if !errors.Is(err, errPulled) {
			return Software{}, fmt.Errorf("boot over USB: %w", err)
		}
		r.show("%v", err)
	}
}

// show writes a line to the node's console, where a real node shows nothing yet.
func (r *rom) show(format string, args ...any) {
	fmt.Fprintf(r.screen, "boot ROM: "+format+"\r\n", args...)
}

func (r *rom) fetch(ctx context.Context) (found bootFiles, err error) {
	pi := &bootrom.Pi{
		Product: bootrom.Zero2, Interfaces: 2,
		Port:  r.attach,
		Files: func(name string, content []byte) { r.show("%s, %d bytes", name, len(content)) },
	}
	if err := pi.Load(ctx); err != nil {
		return bootFiles{}, err
	}
	err = pi.Run(ctx, func(h *bootrom.Host) error {
		found, err = startELF(h)
		return err
	})
	if err != nil {
		return bootFiles{}, fmt.Errorf("start.elf: %w", err)
	}
	return found, nil
}

// startELF fetches what config.txt asks for, in the order in which start.elf does.
func startELF(h *bootrom.Host) (bootFiles, error) {
	if _, err := bare.readConfig(h.Fetch); err != nil { // to begin with
		return bootFiles{}, err
	}
	found, err := bare.firmware(h.Fetch)
	if err != nil {
		return bootFiles{}, err
	}
	if _, err := bare.readConfig(h.Fetch); err != nil { // for the overlays
		return bootFiles{}, err
	}
	for _, name := range found.overlays {
		if err := h.FetchOverlay(name); err != nil {
			return bootFiles{}, err
		}
	}
	return found, nil
}

// attach has a USB device at the node's end of the cable until ctx ends.
func (r *rom) attach(ctx context.Context, d usb.Device) error {
	over := make(chan error, 1)
	stop := r.cable.Play(func(stream io.ReadWriter) {
		err := usb.Serve(stream, d)
		select {
		case over <- err:
		default:
		}
	})
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-over:
		return errors.Join(errPulled, err)
	}
}

// builtIn are modules that a node's system may need to be mounted, and that its own
// initramfs has not: kernels of Raspberry Pi OS have them built in.
var builtIn = []string{"ext4", "loop", "nfsv3", "nfsv4"}

// prepare writes the files that QEMU starts. The device tree is not among them: the
// machine has another, as it has other devices. A kernel that the lab has no drivers for
// makes way for the lab's.
func (r *rom) prepare(found bootFiles) (Software, error) {
	release, err := releaseOf(found.kernel)
	if err != nil {
		return Software{}, fmt.Errorf("boot over USB: %w", err)
	}
	if found.initramfs == nil {
		return Software{}, errors.New("boot over USB: no initramfs came, want one")
	}
	if release != r.kernel.Release {
		r.show("kernel %s has no drivers for this machine: %s instead, with the same modules", release, r.kernel.Name)
		found.kernel = r.kernel.Image
		if found.initramfs, err = initramfs.Exchange(found.initramfs, r.kernel.Modules, builtIn); err != nil {
			return Software{}, fmt.Errorf("boot over USB: %w", err)
		}
	}
	addition, err := os.ReadFile(r.addition)
	if err != nil {
		return Software{}, err
	}
	found.initramfs, found.deviceTree = append(addition, found.initramfs...), nil
	dir := filepath.Join(r.dir, "given")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Software{}, err
	}
	return found.write(dir)
}
