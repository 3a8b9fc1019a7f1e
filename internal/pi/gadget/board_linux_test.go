package gadget

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/kmod"
	"clusterctrl/internal/linux/usbip"
)

// boardIDs lists the ids that the driver of boards was told of.
const boardIDs = "/sys/bus/usb/drivers/i2c-tiny-usb/new_id"

// plugEarly plugs two boards into the machine before there is a udev.
func plugEarly(t *testing.T) []*played {
	t.Helper()
	dir, err := kmod.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if err := kmod.Load(dir, "vhci-hcd"); err != nil {
		t.Fatal(err)
	}
	early := []*played{newBoard(0x0010, 1), newBoard(0x001f, 2)}
	for port, b := range early {
		b.plugIn(t, port)
	}
	return early
}

// boards is about the boards that switch nodes: each is an I2C bus, with a name.
func boards(t *testing.T, early []*played) {
	for _, name := range []string{boardIDs, "/sys/class/i2c-dev"} {
		if isThere(name) {
			t.Fatalf("%s is there before udev has seen a board", name)
		}
	}
	trigger(t, "add") // as systemd does at boot
	wantBoards(t, early...)

	twin := newBoard(0x0010, 3)
	all := append(early, twin)
	twin.plugIn(t, 2)
	wantBoards(t, all...)
	trigger(t, "add")
	trigger(t, "change")
	wantBoards(t, all...)

	for _, b := range all {
		b.unplug(t)
	}
	wantBoards(t)
	for range 3 { // what has been here before
		twin.plugIn(t, 2)
		wantBoards(t, twin)
		twin.unplug(t)
		wantBoards(t)
	}
	others(t)

	// No id is listed twice, unless udev looks at two boards at the same time.
	known := strings.Split(read(boardIDs), "\n")
	ids := slices.Compact(slices.Sorted(slices.Values(known)))
	if !slices.Equal(ids, []string{"3171 0010", "3171 001f"}) || len(known) > len(all) {
		t.Errorf("the driver was told of %q; want the ids of %d boards", known, len(all))
	}
	if log := read(udevLog); strings.Contains(log, filepath.Base(udevRules)+":") {
		t.Errorf("udev has something to say on the rules:\n%s", log)
	}
}

// others is about USB devices that the driver of boards must not get, though they would
// answer it: hubs, nodes, and devices with ids next to those of boards.
func others(t *testing.T) {
	for port, id := range []struct{ vendor, product uint16 }{
		{0x3171, 0x0040}, {0x3171, 0x0041}, {0x05e3, 0x0608}, {0x3171, 0x0020}, {0x3171, 0x0025}, {0x3171, 0x000f}, {0x05e3, 0x0010},
	} {
		d := newBoard(id.product, 0)
		d.Vendor = id.vendor
		d.plugIn(t, port)
		await(t, "udev's word on "+d.dir, func() bool { return isThere("/run/udev/data/c" + read(d.dir+"/dev")) })
		if driver, err := os.Readlink(d.part("driver")); err == nil {
			t.Errorf("%04x:%04x is no board, but has the driver %s", d.Vendor, d.Product, driver)
		}
		d.unplug(t)
	}
}

// trigger has udev look at everything again.
func trigger(t *testing.T, action string) {
	t.Helper()
	runUdevadm(t, "trigger --type=all --action="+action)
	runUdevadm(t, "settle")
}

// wantBoards wants these boards to work, and no trace of others.
func wantBoards(t *testing.T, all ...*played) {
	t.Helper()
	for _, b := range all {
		b.check(t)
	}
	for _, pattern := range []string{"/dev/ClusterCTRL-*", "/dev/i2c-*", "/sys/class/i2c-dev/*", "/run/udev/data/c89:*"} {
		await(t, fmt.Sprintf("%d %s", len(all), pattern), func() bool { return len(glob(pattern)) == len(all) })
	}
}

// check waits for a board to have its name, and speaks with it by that.
func (b *played) check(t *testing.T) {
	t.Helper()
	var bus, link string
	await(t, fmt.Sprintf("board %04x by name, on %s", b.Product, b.dir), func() bool {
		bus = only(b.part("i2c-*"))
		link = "/dev/ClusterCTRL-" + strings.TrimPrefix(bus, "i2c-")
		return bus != "" && isThere(link)
	})
	if driver, err := os.Readlink(b.part("driver")); filepath.Base(driver) != "i2c-tiny-usb" {
		t.Errorf("board %04x has the driver %q, %v", b.Product, driver, err)
	}
	if target, err := os.Readlink(link); target != bus {
		t.Errorf("%s leads to %q, %v; want %s", link, target, err, bus)
	}
	if info, err := os.Stat(link); err != nil || info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != 994 {
		t.Errorf("%s: %v, %v; want that the group i2c may use it", link, info, err)
	}
	f, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	order := make([]byte, 1)
	if err := transfer(f, boardChip, orderRegister, nil, order); err != nil || order[0] != b.order {
		t.Errorf("%s: order %d, %v; want %d", link, order[0], err, b.order)
	}
	wrote, got := []byte{0x5a, b.order}, make([]byte, 2)
	err = errors.Join(transfer(f, boardChip, dataRegister, wrote, nil), transfer(f, boardChip, dataRegister, nil, got))
	if err != nil || !slices.Equal(got, wrote) {
		t.Errorf("%s: wrote % x, read % x, %v", link, wrote, got, err)
	}
	if err := transfer(f, boardChip+1, orderRegister, nil, order); !errors.Is(err, unix.ENXIO) {
		t.Errorf("%s: a chip that is not there answers, or %v; want %v", link, err, unix.ENXIO)
	}
}

// transfer writes to the registers of a chip on an I2C bus, from one on, and reads
// those after.
func transfer(bus *os.File, chip uint16, register byte, write, read []byte) error {
	type message struct { // i2c_msg of linux/i2c.h
		chip, flags, length uint16
		data                unsafe.Pointer
	}
	const reads = 1 // I2C_M_RD
	write = append([]byte{register}, write...)
	messages := []message{{chip, 0, uint16(len(write)), unsafe.Pointer(&write[0])}}
	if len(read) > 0 {
		messages = append(messages, message{chip, reads, uint16(len(read)), unsafe.Pointer(&read[0])})
	}
	all := struct { // i2c_rdwr_ioctl_data of linux/i2c-dev.h
		messages unsafe.Pointer
		count    uint32
	}{unsafe.Pointer(&messages[0]), uint32(len(messages))}
	const transferMessages = 0x0707 // I2C_RDWR
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, bus.Fd(), transferMessages, uintptr(unsafe.Pointer(&all)))
	runtime.KeepAlive(messages)
	if errno != 0 {
		return errno
	}
	return nil
}

// A board's only chip, and two of its registers.
const (
	boardChip     = 0x20
	orderRegister = 0x02 // tells one board from another
	dataRegister  = 0x05 // the first of eight
)

// A played board is one that this test has plugged in.
type played struct {
	*board.Bus
	order byte
	plug  *usb.Plug
	dir   string // of the kernel's device
}

func newBoard(product uint16, order byte) *played {
	f := &board.Firmware{Kind: board.Kind{Product: product}}
	state := board.Delivered()
	state.Order = order
	f.Save(state)
	return &played{Bus: f.Device(), order: order}
}

// part is the name of something that the kernel has of the device's interface.
func (b *played) part(name string) string {
	return fmt.Sprintf("%s/%s:1.0/%s", b.dir, filepath.Base(b.dir), name)
}

// plugIn plugs a board into one of the machine's virtual USB ports, and returns when
// the kernel has seen what it is.
func (b *played) plugIn(t *testing.T, port int) {
	t.Helper()
	var err error
	if b.plug, err = usb.PlugIn(t.Context(), usbip.Port(port), b); err != nil {
		t.Fatal(err)
	}
	b.dir = ""
	await(t, fmt.Sprintf("%04x:%04x on port %d", b.Vendor, b.Product, port), func() bool {
		for _, dir := range glob(fmt.Sprintf("/sys/devices/platform/vhci_hcd.0/usb*/*-%d", port+1)) {
			b.dir = dir
		}
		return b.dir != "" && isThere(b.part(""))
	})
	if got, want := read(b.dir+"/idVendor")+":"+read(b.dir+"/idProduct"), fmt.Sprintf("%04x:%04x", b.Vendor, b.Product); got != want {
		t.Fatalf("%s is %s; want %s", b.dir, got, want)
	}
}

// unplug pulls the board out, and returns when the kernel has seen that.
func (b *played) unplug(t *testing.T) {
	t.Helper()
	b.plug.Pull()
	if err := b.plug.Wait(); err != nil {
		t.Error(err)
	}
	await(t, "the end of "+b.dir, func() bool { return !isThere(b.dir) })
}
