package bootrom

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// loader are the files that bootcode.bin asks for, in its order.
var loader = []string{"autoboot.txt", "config.txt", "recovery.elf", "start.elf", "fixup.dat"}

// Load plays the first two programs of a start, the ROM and bootcode. [Pi.Run] then plays
// start.elf.
func (p *Pi) Load(ctx context.Context) error {
	bootcode, err := p.ROM(ctx)
	if err != nil {
		return fmt.Errorf("ROM: %w", err)
	}
	if len(bootcode) == 0 {
		return errors.New("ROM: it was given no bootcode")
	}
	err = p.Run(ctx, func(h *Host) error {
		for _, name := range loader {
			_, err := h.Fetch(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if name == "start.elf" && err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bootcode.bin: %w", err)
	}
	return nil
}

// System returns start.elf for a system with these file names: a program for [Pi.Run] that
// fetches the files in the order in which start.elf does.
func System(kernel, initramfs, deviceTree string, overlays ...string) func(*Host) error {
	names := []string{"config.txt", "config.txt", "cmdline.txt", kernel, initramfs, deviceTree, "config.txt"}
	return func(h *Host) error {
		for _, name := range names {
			if _, err := h.Fetch(name); err != nil {
				return err
			}
		}
		for _, overlay := range overlays {
			if err := h.FetchOverlay(overlay); err != nil {
				return err
			}
		}
		return nil
	}
}

// FetchOverlay asks for an overlay of the device tree by its three possible names, until
// the host has it. It is no error if there is none: firmware goes on without it.
func (h *Host) FetchOverlay(name string) error {
	for _, suffix := range []string{".dtbo", "-overlay.dtb", ".dtb"} {
		_, err := h.Fetch("overlays/" + name + suffix)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
