package power

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lineChips are the labels of the chip that has a Pi's header pins: Pi 0 to 3, 4
// and 5. Its number differs from kernel to kernel.
var lineChips = []string{"pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"}

type lineChip struct {
	device
	label string
}

// openLines opens the chip of the header's pins.
func openLines() (Lines, error) {
	devices, err := filepath.Glob("/dev/gpiochip*")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range devices {
		d, err := openDevice(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var info unix.GPIOChipInfo
		err = d.control(unix.GPIO_GET_CHIPINFO_IOCTL, unsafe.Pointer(&info))
		if label := text(info.Label[:]); err == nil && slices.Contains(lineChips, label) {
			return lineChip{d, label}, nil
		}
		d.Close()
	}
	return nil, errors.Join(append(errs, fmt.Errorf("no GPIO chip of a Pi: want one labelled %q", lineChips))...)
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// Flags and attributes of linux/gpio.h.
const (
	lineIsOutput  = 1 << 3 // GPIO_V2_LINE_FLAG_OUTPUT
	lineConsumer  = "clusterctrl"
	onlyLine      = 1 // mask of the first line of a request
	lineHighValue = 1
)

func (c lineChip) Get(line int) (level, output bool, err error) {
	if held := c.held(line); held.exists() {
		return held.get()
	}
	// A request without flags leaves the line as it is.
	return c.request(line, unix.GPIOV2LineConfig{})
}

// Set drives a line. A kernel from before 2024 makes a line an input again as soon as no
// program holds it: there, Set leaves the line to sysfs, which goes on holding it.
func (c lineChip) Set(line int, level bool) error {
	held := c.held(line)
	if held.exists() {
		return held.set(level)
	}
	config := unix.GPIOV2LineConfig{Flags: lineIsOutput, Num_attrs: 1}
	config.Attrs[0].Attr.Id = unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES
	config.Attrs[0].Mask = onlyLine
	if level {
		config.Attrs[0].Attr.Flags = lineHighValue // Flags stands for a union, here of values
	}
	if _, _, err := c.request(line, config); err != nil {
		return err
	}
	now, output, err := c.Get(line)
	if err != nil || output && now == level {
		return err
	}
	if err := held.export(); err != nil {
		return fmt.Errorf("GPIO %d: this kernel does not keep the level of a line that no program holds, nor can sysfs hold it: %w", line, err)
	}
	return held.set(level)
}

// request takes a line for a moment, and returns its level and whether the Pi drives it.
// The kernel asks the chip for this only while a program has the line.
func (c lineChip) request(line int, config unix.GPIOV2LineConfig) (level, output bool, err error) {
	r := unix.GPIOV2LineRequest{Num_lines: 1, Config: config}
	r.Offsets[0] = uint32(line)
	copy(r.Consumer[:], lineConsumer)
	if err := c.control(unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		return false, false, fmt.Errorf("GPIO %d: %w", line, err)
	}
	defer unix.Close(int(r.Fd))
	values := unix.GPIOV2LineValues{Mask: onlyLine}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.Fd), unix.GPIO_V2_LINE_GET_VALUES_IOCTL, uintptr(unsafe.Pointer(&values)))
	if errno != 0 {
		return false, false, fmt.Errorf("GPIO %d: %w", line, errno)
	}
	info, err := c.info(line)
	return values.Bits&onlyLine != 0, info.Flags&lineIsOutput != 0, err
}

func (c lineChip) info(line int) (unix.GPIOV2LineInfo, error) {
	info := unix.GPIOV2LineInfo{Offset: uint32(line)}
	if err := c.control(unix.GPIO_V2_GET_LINEINFO_IOCTL, unsafe.Pointer(&info)); err != nil {
		return info, fmt.Errorf("GPIO %d: %w", line, err)
	}
	return info, nil
}
