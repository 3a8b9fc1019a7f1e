package uevent

import (
	"os"
	"path/filepath"
	"testing"
)

// TestValue reads an event of the kernel's, and one of udev's, which has a header.
func TestValue(t *testing.T) {
	kernels := "remove@/devices/usb1/1-3\x00ACTION=remove\x00DEVPATH=/devices/usb1/1-3\x00SUBSYSTEM=usb\x00DEVTYPE=usb_device\x00"
	for _, event := range []string{kernels, "libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00" + kernels} {
		for name, want := range map[string]string{"ACTION": "remove", "DEVPATH": "/devices/usb1/1-3", "SUBSYSTEM": "usb", "TYPE": "", "DEV": ""} {
			if got := value([]byte(event), name); got != want {
				t.Errorf("%s of %q: %q, want %q", name, event, got, want)
			}
		}
	}
}

// TestAwaitGone: a device that goes is waited for, not one that took its place.
func TestAwaitGone(t *testing.T) {
	stays, goes := t.TempDir(), filepath.Join(t.TempDir(), "device")
	awaitGone(stays)
	if err := os.Mkdir(goes, 0o755); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error)
	go func() { removed <- os.Remove(goes) }()
	awaitGone(goes)
	if _, err := os.Stat(goes); err == nil {
		t.Error("the device is still there")
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
}
