package power_test

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"clusterctrl/internal/controller/power"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/node"
	"golang.org/x/sys/unix"
)

// TestZero switches the lines of a ClusterHAT v1 on an emulated Pi Zero: see [onZero].
func TestZero(t *testing.T) {
	vm.BootZero(t, labtest.Initramfs{Modules: []string{"pinctrl-bcm2835"}})
}

// onZero drives lines, which keep their levels though no program holds them, and
// leaves others alone.
func onZero(t *testing.T) {
	if err := os.MkdirAll(filepath.Dir(node.SettingsFile), 0o755); err != nil {
		t.Fatal(err)
	}
	open := func() power.Board {
		boards, err := power.ThisMachine().Boards(power.Options{Force: power.Version{Major: 1, Minor: 3}, Size: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { boards.Close() })
		return boards[0]
	}
	makeInput(t, 6)
	if first, err := open().Start(); !first || err != nil {
		t.Fatalf("the first run: %t, %v", first, err)
	}
	if first, err := open().Start(); first || err != nil {
		t.Errorf("the second run: %t, %v", first, err)
	}
	for x := range 4 {
		if err := open().SetPower(x+1, x != 2); err != nil {
			t.Error(err)
		}
	}
	if err := open().SetPower(1, false); err != nil {
		t.Error(err)
	}
	for x, want := range []bool{false, true, false, true} {
		if on, err := open().Power(x + 1); on != want || err != nil {
			t.Errorf("node %d is on: %t, %v; want %t", x+1, on, err, want)
		}
	}
	if r, err := open().Report(); err != nil || !r.Ready || *r.Alert {
		t.Errorf("%+v, %v", r, err)
	}
}

// makeInput makes a line an input, as all are when a Pi has got power. QEMU's Zero
// starts with GPIO 6 as an output.
func makeInput(t *testing.T, line uint32) {
	t.Helper()
	chip, err := os.Open("/dev/gpiochip0")
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	const isInput = 1 << 2 // GPIO_V2_LINE_FLAG_INPUT of linux/gpio.h
	r := unix.GPIOV2LineRequest{Num_lines: 1, Config: unix.GPIOV2LineConfig{Flags: isInput}}
	r.Offsets[0] = line
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, chip.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		t.Fatal(errno)
	}
	unix.Close(int(r.Fd))
}
