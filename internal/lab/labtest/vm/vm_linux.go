// Package vm has a test boot itself: a virtual machine has the test's own binary as
// its only program, PID 1, which runs the test TestMachine there.
//
//	func TestMain(m *testing.M) { vm.Main(m) }
//
//	func TestMachine(t *testing.T) {
//		if vm.Inside() {
//			// on the machine, as root, with a kernel of its own
//			return
//		}
//		vm.Boot(t, labtest.Initramfs{Modules: []string{"vhci-hcd"}})
//	}
package vm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/guest"
)

// What the machine's console shows at the end.
const (
	passed = "vm: the test passed"
	failed = "vm: the test failed"
)

// Inside reports whether this program runs as the only one of a machine.
func Inside() bool { return os.Getpid() == 1 }

// Main runs the tests: on the machine TestMachine alone.
func Main(m *testing.M) {
	if !Inside() {
		os.Exit(m.Run())
	}
	guest.Main(func() error {
		os.Args = []string{"init", "-test.v", "-test.run=^TestMachine$"}
		if m.Run() != 0 {
			fmt.Println(failed)
		} else {
			fmt.Println(passed)
		}
		return nil
	})
}

// A target is a kind of machine that the test can boot itself on.
type target struct {
	model string // of lab
	arch  labtest.Arch
	env   []string // for Go
	tree  string   // device tree, empty for none
	stays bool     // it cannot be switched off from within
}

// Boot boots an amd64 machine with this test as /init, and with the modules and the
// files of an initramfs. It fails if the test does there, or if its kernel says that
// it has a bug. The machine may be given more, such as disks.
func Boot(t *testing.T, in labtest.Initramfs, more ...func(*lab.Config)) {
	t.Helper()
	target{model: "amd64", arch: labtest.AMD64, env: []string{"GOARCH=amd64"}}.boot(t, in, more...)
}

// BootZero is Boot of a Pi Zero, for what a Pi's own hardware is needed for.
func BootZero(t *testing.T, in labtest.Initramfs) {
	t.Helper()
	target{"raspi0", labtest.ARMv6, []string{"GOARCH=arm", "GOARM=6"}, "bcm2835-rpi-zero.dtb", true}.boot(t, in)
}

func (to target) boot(t *testing.T, in labtest.Initramfs, more ...func(*lab.Config)) {
	t.Helper()
	kernel := labtest.NewKernel(t, to.arch)
	in.Init = ourselves(t, to.env)
	var console bytes.Buffer
	transcript, ctx := labtest.Listen(t, io.MultiWriter(&console, t.Output()))
	config := lab.Config{
		Model:      to.model,
		Transcript: transcript,
		Software: &lab.Software{
			Kernel:      kernel.Image,
			Initramfs:   kernel.Initramfs(t, in),
			CommandLine: "quiet panic=-1",
		},
	}
	if to.tree != "" {
		config.Software.DeviceTree = kernel.Tree(to.tree)
	}
	for _, give := range more {
		give(&config)
	}
	m, err := lab.New(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	boot, err := m.Boot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := boot.Expect(ctx, passed, failed)
	if err == nil && !to.stays {
		_, err = boot.Wait()
	}
	if err != nil || verdict != passed {
		t.Errorf("%q, %v", verdict, err)
	}
	for _, trouble := range []string{"WARNING:", "BUG:", "Oops"} {
		if bytes.Contains(console.Bytes(), []byte(trouble)) {
			t.Errorf("the kernel says %s", trouble)
		}
	}
}

// ourselves builds this test as a static program and returns its path.
func ourselves(t *testing.T, env []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	build.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), env...)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, text)
	}
	return out
}
