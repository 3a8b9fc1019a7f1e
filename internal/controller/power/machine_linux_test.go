package power_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/node"
)

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine has the program switch played boards through the kernel's own
// drivers: see [inMachine].
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{
		Modules: []string{"vhci-hcd", "i2c-tiny-usb", "i2c-dev"},
		Files:   map[string]string{node.Program[1:]: labtest.Program(t, labtest.AMD64, "../../../cmd/clusterctrl")},
	})
}

func inMachine(t *testing.T) {
	if runtime.GOARCH == "arm" {
		onZero(t)
		return
	}
	// A ClusterHAT is on the bus of the number 1: another takes 0.
	filler := plugIn(t, (&board.HAT{Version: 0x24, Name: "filler"}).Device())
	if filler.Number != 0 {
		t.Fatalf("the first bus is %d", filler.Number)
	}
	for _, dir := range []string{filepath.Dir(node.SettingsFile), node.RPIBootDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"first runs", firstRuns}, {"verbs", verbs}, {"at once", atOnce}, {"every transaction", everyTransaction},
		{"pulled", pulled}, {"two of one order", twoOfOneOrder}, {"slow and hung", slowAndHung}, {"nonsense", nonsense},
		{"restart", restart}, {"watched", watched}, {"interrupted", interrupted}, {"noted", noted},
	} {
		t.Run(part.name, part.do)
	}
}

var ports = make([]bool, 8) // that are taken

// plugIn plugs a board in until the test ends.
func plugIn(t *testing.T, b *board.Bus) board.Plug {
	t.Helper()
	port := slices.Index(ports, false)
	ports[port] = true
	plug, err := board.PlugIn(context.Background(), usbip.Port(port), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plug.Remove(context.Background()); err != nil {
			t.Error(err)
		}
		ports[port] = false
	})
	return plug
}

// settle writes the settings file of a bridging controller.
func settle(t *testing.T, more string) {
	t.Helper()
	if err := os.WriteFile(node.SettingsFile, []byte("TYPE=c\nCLUSTERCTRL_DELAY=0\n"+more), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs the program, and returns what it prints and its exit status.
func run(words string) (stdout, stderr string, status int) {
	var out, err strings.Builder
	cmd := exec.Command(node.Program, strings.Fields(words)...)
	cmd.Stdout, cmd.Stderr = &out, &err
	failed := cmd.Run()
	var exit *exec.ExitError
	if failed != nil && !errors.As(failed, &exit) {
		return "", failed.Error(), -1
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// want runs the program and wants it to end well, having written this to boards.
func want(t *testing.T, j *board.Journal, words, writes string) string {
	t.Helper()
	stdout, stderr, status := run(words)
	if got := text(j); got != writes || status != 0 || stderr != "" {
		t.Errorf("clusterctrl %s: status %d, %q; wrote\n%s\nwant\n%s", words, status, stderr, got, writes)
	}
	return stdout
}

// wantError runs the program and wants it to fail with these lines.
func wantError(t *testing.T, words string, lines ...string) {
	t.Helper()
	stdout, stderr, status := run(words)
	if got := strings.Join(lines, "\n") + "\n"; stderr != got || status != 1 {
		t.Errorf("clusterctrl %s: status %d, %q\n%s\nwant\n%s", words, status, stdout, stderr, got)
	}
}

// text is what was written to boards, but for the questions that are asked of a
// ClusterCTRL board.
func text(j *board.Journal) string {
	var all []string
	for _, w := range j.Take() {
		all = append(all, w.String())
	}
	return strings.Join(all, ", ")
}

// desk is a ClusterHAT and two ClusterCTRL boards: nodes 1 to 4, 5 to 7, and 8 and 9.
type desk struct {
	hat          *board.HAT
	triple, phat *board.Firmware
	journal      *board.Journal
	tripleBus    *board.Bus
	triplePlug   board.Plug
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	j := &board.Journal{}
	d := &desk{
		hat: &board.HAT{Version: 0x24, Name: "hat", Journal: j, PullUps: true},
		triple: &board.Firmware{Kind: board.Triple, Name: "triple", Journal: j,
			ADC: []board.Reading{{Kind: 1, Raw: 780}, {Kind: 2, Raw: 156}}, Temperature: 284},
		phat:    &board.Firmware{Kind: board.PHAT, Name: "phat", Journal: j},
		journal: j,
	}
	early := board.Delivered()
	early.Order = 30
	d.phat.Save(early)
	plugIn(t, d.hat.Device())
	plugIn(t, d.phat.Device()) // its bus comes first, its order does not
	d.tripleBus = d.triple.Device()
	d.triplePlug = plugIn(t, d.tripleBus)
	settle(t, "CLUSTERHAT_FORCE=2.4\n")
	if _, stderr, status := run("init"); status != 0 {
		t.Fatalf("init: status %d, %s", status, stderr)
	}
	j.Take()
	return d
}
