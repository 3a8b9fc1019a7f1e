package gadget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"clusterctrl/internal/node"
)

// A builder builds gadgets and takes them down.
type builder struct {
	tree gadgets
	udcs fs.FS // the kernel's list of device controllers

	// await returns once try is done or fails, or an error that wraps errWaited.
	// It tries again whenever a device controller appears, and soon where one has.
	await func(ctx context.Context, try func() (progress, error)) error
	// hangUp makes programs let go of the terminal of a serial port.
	hangUp func(port string) error
	// mayUnbind refuses if the system would not survive without the gadget.
	mayUnbind func() error
}

// A progress is how ready a device controller is.
type progress int

const (
	absent   progress = iota
	settling          // it is listed, but takes no gadget yet
	bound
)

// errWaited says that what was waited for did not come.
var errWaited = errors.New("gave up waiting")

// start leaves a complete gadget, bound to a device controller, or no gadget.
func (b builder) start(ctx context.Context, s Settings) (Report, error) {
	parts := gadgetOf(s)
	udc, err := b.running(parts)
	if err != nil {
		return Report{}, err
	}
	if udc != "" && (s.UDC == "" || s.UDC == udc) {
		return Report{Running, s, udc}, nil
	}
	old, err := b.stop()
	if err != nil {
		return Report{}, err
	}
	udc, err = b.build(ctx, parts, s.UDC)
	if err != nil {
		_, stopErr := b.stop()
		return Report{}, errors.Join(err, stopErr)
	}
	if old.Outcome == Stopped {
		return Report{Rebuilt, s, udc}, nil
	}
	return Report{Started, s, udc}, nil
}

// running returns the device controller that shows a gadget with all the parts,
// or nothing.
func (b builder) running(parts []part) (udc string, err error) {
	for _, p := range parts {
		if ok, err := p.there(b.tree); !ok {
			return "", err
		}
	}
	udc, err = readAttribute(b.tree, udcFile)
	if err != nil || udc == "" || b.user(udc) != node.GadgetName {
		return "", err // UDC keeps its text if the device controller goes away
	}
	return udc, nil
}

// user returns the gadget that a device controller shows, nothing if none.
func (b builder) user(udc string) string {
	text, err := fs.ReadFile(b.udcs, udc+"/function")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// build makes the parts and binds them to a device controller. It makes first,
// since the device controller may take its time to appear.
func (b builder) build(ctx context.Context, parts []part, udc string) (string, error) {
	for _, p := range parts {
		if err := p.make(b.tree); err != nil {
			return "", explain(p, err)
		}
	}
	return b.bind(ctx, udc)
}

// bind binds the gadget to the device controller of a name, or the first if name
// is empty, as soon as there is one.
func (b builder) bind(ctx context.Context, name string) (udc string, err error) {
	var busy error
	err = b.await(ctx, func() (_ progress, err error) {
		udc, err = b.findUDC(name)
		if err != nil || udc == "" {
			return absent, err
		}
		err = b.tree.Write(udcFile, udc)
		if err == nil {
			return bound, nil
		}
		if user := b.user(udc); user != "" {
			return absent, fmt.Errorf("device controller %s is taken by %s: %w", udc, user, err)
		}
		if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENODEV) {
			busy = err
			return settling, nil
		}
		return absent, fmt.Errorf("bind the gadget to %s: %w", udc, err)
	})
	switch {
	case !errors.Is(err, errWaited):
		return udc, err
	case udc != "":
		return "", fmt.Errorf("bind the gadget to %s: %w: %w", udc, busy, err)
	case name != "":
		return "", fmt.Errorf("UDC=%s: no such USB device controller: %w", name, err)
	}
	return "", fmt.Errorf("no USB device controller; a Pi wants dtoverlay=dwc2,dr_mode=peripheral in config.txt: %w", err)
}

// findUDC returns the device controller of a name, or the first if name is
// empty; nothing if it is not there.
func (b builder) findUDC(name string) (string, error) {
	entries, err := fs.ReadDir(b.udcs, ".")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no driver of any is loaded
		return "", err
	}
	for _, e := range entries { // sorted
		if name == "" || name == e.Name() {
			return e.Name(), nil
		}
	}
	return "", nil
}

// explain tells users why a part cannot be made.
func explain(p part, err error) error {
	instance, ok := strings.CutPrefix(p.name, functions+"/")
	if !ok || p.kind != directory || !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v: %w", p, err)
	}
	function, _, _ := strings.Cut(instance, ".")
	other := node.NCM
	switch function {
	case "acm":
		return fmt.Errorf("the kernel has no usb_f_acm, for the serial console: %w", err)
	case string(node.NCM):
		other = node.ECM
	}
	return fmt.Errorf("the kernel has no usb_f_%s: set GADGET=%s in %s: %w", function, other, node.SettingsFile, err)
}

// stop leaves nothing of a gadget, whatever it was made of.
func (b builder) stop() (Report, error) {
	if ok, err := exists(b.tree, top); !ok {
		return Report{Outcome: Absent}, err
	}
	udc, err := readAttribute(b.tree, udcFile)
	if err != nil {
		return Report{}, err
	}
	if udc != "" {
		if err := b.mayUnbind(); err != nil {
			return Report{}, err
		}
		if err := b.tree.Write(udcFile, ""); err != nil {
			return Report{}, fmt.Errorf("unbind the gadget from %s: %w", udc, err)
		}
	}
	names, err := b.doomed()
	if err != nil {
		return Report{}, err
	}
	for _, name := range names {
		if err := b.remove(name); err != nil {
			return Report{}, err
		}
	}
	return Report{Outcome: Stopped, UDC: udc}, nil
}

// doomed lists what has to be removed of a gadget that is not bound, in the
// order in which the kernel allows it: links before what they lead to.
// Directories that the kernel made go with the one that they are in.
func (b builder) doomed() ([]string, error) {
	var names []string
	var errs []error
	list := func(dir string, kind fs.FileMode) []string {
		entries, err := b.tree.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		var found []string
		for _, e := range entries {
			if e.Type() == kind {
				found = append(found, path.Join(dir, e.Name()))
			}
		}
		return found
	}
	names = append(names, list(osDesc, fs.ModeSymlink)...)
	for _, config := range list(configs, fs.ModeDir) {
		names = append(names, list(config, fs.ModeSymlink)...)
		names = append(names, list(config+"/strings", fs.ModeDir)...)
		names = append(names, config)
	}
	names = append(names, list(functions, fs.ModeDir)...)
	names = append(names, list(languages, fs.ModeDir)...)
	return append(names, top), errors.Join(errs...)
}

// remove removes a link or a directory. The kernel waits, beyond the reach of signals,
// until no program has the terminal of a serial port open any more.
func (b builder) remove(name string) error {
	port, err := readAttribute(b.tree, name+"/port_num")
	if err == nil && port != "" {
		if err := b.hangUp(port); err != nil {
			return err
		}
	}
	return b.tree.Remove(name)
}
