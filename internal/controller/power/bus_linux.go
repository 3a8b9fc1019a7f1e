package power

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ThisMachine is the machine that the program runs on.
func ThisMachine() Machine {
	return Machine{Files: os.DirFS("/"), OpenBus: openBus, OpenLines: openLines}
}

// A device is an I2C bus or a GPIO chip, in /dev. The program needs a few ioctls of it,
// and uses no library: periph.io makes a program for a Pi 0.5 MB larger, opens each GPIO
// chip of the machine when it is loaded, and has no locks. The lock is on the device
// itself, which all users who may switch may open, so that no lock file needs an owner.
type device struct{ *os.File }

func openDevice(name string) (device, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	return device{f}, err
}

// Lock locks the device against other runs of this program, which all lock it. The kernel
// releases the lock of a run that ends, in whatever way.
func (d device) Lock() (unlock func(), err error) {
	if err := flock(d.File, unix.LOCK_EX); err != nil {
		return nil, err
	}
	return func() { flock(d.File, unix.LOCK_UN) }, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil || !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// lockDir locks a directory against other runs of this program.
func lockDir(name string) (unlock func(), err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// control is ioctl(2).
func (d device) control(request uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), uintptr(request), uintptr(arg))
	runtime.KeepAlive(d.File)
	if errno != 0 {
		return errno
	}
	return nil
}

type i2cBus struct{ device }

// openBus opens an I2C bus by its name in /dev.
func openBus(name string) (Bus, error) {
	d, err := openDevice("/dev/" + name)
	return i2cBus{d}, err
}

// i2cMessage is struct i2c_msg of linux/i2c.h.
type i2cMessage struct {
	chip, flags, length uint16
	data                unsafe.Pointer
}

// i2cMessages is struct i2c_rdwr_ioctl_data of linux/i2c-dev.h.
type i2cMessages struct {
	messages unsafe.Pointer
	count    uint32
}

const (
	i2cRead     = 0x0001 // I2C_M_RD
	i2cTransfer = 0x0707 // I2C_RDWR
)

func (b i2cBus) Transfer(chip uint16, write, read []byte) error {
	var all []i2cMessage
	if len(write) > 0 {
		all = append(all, i2cMessage{chip, 0, uint16(len(write)), unsafe.Pointer(&write[0])})
	}
	if len(read) > 0 {
		all = append(all, i2cMessage{chip, i2cRead, uint16(len(read)), unsafe.Pointer(&read[0])})
	}
	err := b.control(i2cTransfer, unsafe.Pointer(&i2cMessages{unsafe.Pointer(&all[0]), uint32(len(all))}))
	runtime.KeepAlive(all)
	// Error codes of bus drivers, by Documentation/i2c/fault-codes.rst of Linux.
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EREMOTEIO):
		return ErrNAK
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ESHUTDOWN):
		return fmt.Errorf("the bus is gone: %w", err)
	}
	return err
}
