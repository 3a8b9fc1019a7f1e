package usbfs

import (
	"testing"
	"unsafe"
)

// TestRequests holds the numbers of the requests against those that the C
// compiler computes from linux/usbdevice_fs.h, by the size of a pointer.
func TestRequests(t *testing.T) {
	want := map[uintptr][3]uintptr{
		8: {0xc0185500, 0xc0185502, 0x8004550f},
		4: {0xc0105500, 0xc0105502, 0x8004550f},
	}[unsafe.Sizeof(uintptr(0))]
	if got := [3]uintptr{control, bulk, claimInterface}; got != want {
		t.Errorf("USBDEVFS_CONTROL, _BULK and _CLAIMINTERFACE = %#x, want %#x", got, want)
	}
}

func TestPath(t *testing.T) {
	if got := Path(1, 23); got != "/dev/bus/usb/001/023" {
		t.Errorf("Path(1, 23) = %s", got)
	}
}
