// Package usbfs talks to USB devices through the files that Linux keeps in
// /dev/bus/usb (Documentation/driver-api/usb/usb.rst, "The USB character device
// nodes"). A transfer blocks its caller until it is done, has failed, or its
// time is up; transfers to different devices run side by side.
package usbfs

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Device is an open USB device.
type Device struct{ file *os.File }

// Open opens device number device of bus number bus, as sysfs calls them
// (busnum, devnum).
func Open(bus, device int) (*Device, error) {
	fd, err := unix.Open(Path(bus, device), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: Path(bus, device), Err: err}
	}
	return &Device{os.NewFile(uintptr(fd), Path(bus, device))}, nil
}

// Path is the file of a device.
func Path(bus, device int) string { return fmt.Sprintf("/dev/bus/usb/%03d/%03d", bus, device) }

// Close gives up the device and the interfaces that were claimed.
func (d *Device) Close() error { return d.file.Close() }

// maxDescriptors is more than the descriptors of any device that answers:
// 16 bits count the length of each configuration.
const maxDescriptors = 1 << 20

// Descriptors returns the device's descriptor, followed by the descriptors of its
// configurations, as the device sent them.
func (d *Device) Descriptors() ([]byte, error) {
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(d.file, maxDescriptors))
}

// Claim takes an interface, which until Close no other program and no driver has.
func (d *Device) Claim(number int) error {
	n := uint32(number)
	if _, err := d.ioctl(claimInterface, unsafe.Pointer(&n)); err != nil {
		return fmt.Errorf("claim interface %d: %w", number, err)
	}
	return nil
}

// A Setup is the first packet of a control transfer (USB 2.0, table 9-2), without the
// length, which follows from the data.
type Setup struct {
	RequestType  uint8
	Request      uint8
	Value, Index uint16
}

// controlTransfer is struct usbdevfs_ctrltransfer of linux/usbdevice_fs.h.
type controlTransfer struct {
	Setup
	length  uint16
	timeout uint32 // ms
	data    unsafe.Pointer
}

// bulkTransfer is struct usbdevfs_bulktransfer of linux/usbdevice_fs.h.
type bulkTransfer struct {
	endpoint uint32
	length   uint32
	timeout  uint32 // ms
	data     unsafe.Pointer
}

// Control does a control transfer, to the device or from it as bit 7 of the
// request's type says, and returns how many bytes of data were moved.
func (d *Device) Control(setup Setup, data []byte, timeout time.Duration) (int, error) {
	if len(data) > 0xffff {
		return 0, fmt.Errorf("control transfer of %d bytes: want at most %d", len(data), 0xffff)
	}
	t := controlTransfer{setup, uint16(len(data)), milliseconds(timeout), unsafe.Pointer(unsafe.SliceData(data))}
	n, err := d.ioctl(control, unsafe.Pointer(&t))
	runtime.KeepAlive(data)
	return n, err
}

// Bulk does a bulk transfer. Bit 7 of an endpoint's address says that data
// comes from the device.
func (d *Device) Bulk(endpoint uint8, data []byte, timeout time.Duration) (int, error) {
	t := bulkTransfer{uint32(endpoint), uint32(len(data)), milliseconds(timeout), unsafe.Pointer(unsafe.SliceData(data))}
	n, err := d.ioctl(bulk, unsafe.Pointer(&t))
	runtime.KeepAlive(data)
	return n, err
}

func milliseconds(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// Requests of linux/usbdevice_fs.h: direction, size of the argument, 'U', number.
var (
	control        = request(read|write, unsafe.Sizeof(controlTransfer{}), 0)
	bulk           = request(read|write, unsafe.Sizeof(bulkTransfer{}), 2)
	claimInterface = request(read, unsafe.Sizeof(uint32(0)), 15)
)

// Directions of a request, as asm-generic/ioctl.h has them on x86 and ARM.
const (
	write = 1 << 30
	read  = 2 << 30
)

func request(direction, size, number uintptr) uintptr {
	return direction | size<<16 | 'U'<<8 | number
}

// ioctl makes a request. No signal but one that ends the program ends a transfer.
func (d *Device) ioctl(request uintptr, arg unsafe.Pointer) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), request, uintptr(arg))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
