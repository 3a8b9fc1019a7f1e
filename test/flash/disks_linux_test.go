package flash

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/guest"
	"clusterctrl/internal/linux/uevent"
)

// guestWait waits for something that comes with a disk.
func guestWait(done func() bool) error {
	return uevent.Wait(context.Background(), func() (bool, error) { return done(), nil }, "block")
}

// insert loads a module that was packed for it, with parameters.
func insert(t *testing.T, module, parameters string) {
	t.Helper()
	f, err := os.Open("/" + module + ".ko")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil {
		t.Fatalf("%s: %v", module, err)
	}
}

// A target of the device mapper maps a part of a disk, in sectors.
type target struct {
	start, length uint64
	kind, params  string
}

// Commands and records of the device mapper (include/uapi/linux/dm-ioctl.h).
const (
	mapperCreate  = 3
	mapperRemove  = 4
	mapperSuspend = 6 // without a flag, it resumes
	mapperLoad    = 9
)

type mapperHead struct {
	Version            [3]uint32
	Size, Start, Count uint32
	OpenCount          int32
	Flags, Event, _    uint32
	Device             uint64
	Name               [128]byte
	UUID               [129]byte
	_                  [7]byte
}

type mapperSpec struct {
	Start, Length uint64
	Status        int32
	Next          uint32
	Kind          [16]byte
}

// mapper makes a disk of targets and returns its path.
func mapper(t *testing.T, name string, targets ...target) string {
	t.Helper()
	var table bytes.Buffer
	for _, x := range targets {
		params := append([]byte(x.params), make([]byte, 8-len(x.params)%8)...)
		spec := mapperSpec{Start: x.start, Length: x.length, Next: uint32(binary.Size(mapperSpec{}) + len(params))}
		copy(spec.Kind[:], x.kind)
		if err := binary.Write(&table, binary.LittleEndian, spec); err != nil {
			t.Fatal(err)
		}
		table.Write(params)
	}
	askMapper(t, mapperCreate, name, 0, nil)
	askMapper(t, mapperLoad, name, len(targets), table.Bytes())
	device := askMapper(t, mapperSuspend, name, 0, nil)
	path := fmt.Sprintf("/dev/dm-%d", device&0xff|device>>12&0xfff00)
	if err := guest.Await(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// remove removes a disk that mapper made.
func remove(t *testing.T, name string) {
	t.Helper()
	askMapper(t, mapperRemove, name, 0, nil)
}

func askMapper(t *testing.T, command uintptr, name string, count int, data []byte) (device uint64) {
	t.Helper()
	head := mapperHead{Version: [3]uint32{4, 0, 0}, Count: uint32(count)}
	size := binary.Size(head)
	head.Size, head.Start = uint32(size+len(data)), uint32(size)
	copy(head.Name[:], name)
	p, err := binary.Append(nil, binary.LittleEndian, head)
	if err != nil {
		t.Fatal(err)
	}
	p = append(p, data...)
	f, err := os.Open("/dev/mapper/control")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	request := 3<<30 | uintptr(size)<<16 | 0xfd<<8 | command
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&p[0]))); errno != 0 {
		t.Fatalf("device mapper: command %d for %s: %v", command, name, errno)
	}
	if _, err := binary.Decode(p, binary.LittleEndian, &head); err != nil {
		t.Fatal(err)
	}
	return head.Device
}

func swapon(disk string) error {
	path, err := unix.BytePtrFromString(disk)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("swapon: %w", errno)
	}
	return nil
}

func swapoff(disk string) error {
	path, err := unix.BytePtrFromString(disk)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("swapoff: %w", errno)
	}
	return nil
}

func setReadOnly(disk string, only int) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, only)
}

// readTable has the kernel read the partition table of a disk.
func readTable(disk string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
}

// A reader is a card reader on USB: a device of this machine in a port of this machine.
type reader struct{ file string }

func newReader(t *testing.T) reader {
	t.Helper()
	const config = "/config"
	if err := os.Mkdir(config, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("configfs", config, "configfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	dir := config + "/usb_gadget/reader"
	function := dir + "/functions/mass_storage.0"
	for _, d := range []string{dir, dir + "/configs/c.1", function} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/idVendor", "0x0525")
	write(t, dir+"/idProduct", "0xa4a5")
	write(t, function+"/lun.0/removable", "1")
	if err := os.Symlink(function, dir+"/configs/c.1/mass_storage.0"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/UDC", "dummy_udc.0")
	glob(t, "/sys/bus/usb/devices/*/host*/target*/*/block/*")
	return reader{function + "/lun.0/file"}
}

// insert puts a card in that is full of noise.
func (r reader) insert(t *testing.T, name string, size int64) {
	t.Helper()
	card := filepath.Join("/tmp", "card-"+name)
	f, err := os.Create(card)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	write(t, r.file, card)
}

func (r reader) remove(t *testing.T) {
	t.Helper()
	write(t, filepath.Join(filepath.Dir(r.file), "forced_eject"), "1")
}
