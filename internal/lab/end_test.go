package lab_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"clusterctrl/internal/lab"
)

// sleeper builds a machine that does nothing when it is on: its kernel is a jump to
// itself.
func sleeper(t *testing.T, more ...string) *lab.Machine {
	t.Helper()
	kernel := t.TempDir() + "/kernel"
	if err := os.WriteFile(kernel, []byte{0xfe, 0xff, 0xff, 0xea}, 0o600); err != nil { // b .
		t.Fatal(err)
	}
	m, _ := machine(t, lab.Config{Model: "raspi0", Software: &lab.Software{Kernel: kernel}, QEMU: more})
	return m
}

// TestContextEnds ends the context of a boot, before and while the machine is on.
func TestContextEnds(t *testing.T) {
	why := errors.New("the user is tired")
	ctx, cancel := context.WithCancelCause(t.Context())
	m := sleeper(t)
	b := boot(t, ctx, m)
	cancel(why)
	if how, err := b.Wait(); how != 0 || !errors.Is(err, why) {
		t.Errorf("Wait() = %v, %v; want %v", how, err, why)
	}
	if _, err := b.Expect(t.Context(), "x"); !errors.Is(err, lab.ErrEnded) {
		t.Errorf("Expect() when off = %v, want %v", err, lab.ErrEnded)
	}
	if _, err := m.Boot(ctx); !errors.Is(err, why) {
		t.Errorf("Boot() = %v, want %v", err, why)
	}
}

// TestOneBootAtATime switches a machine on that is on.
func TestOneBootAtATime(t *testing.T) {
	m := sleeper(t)
	boot(t, t.Context(), m)
	if _, err := m.Boot(t.Context()); err == nil || !strings.Contains(err.Error(), "want it off") {
		t.Errorf("Boot() of a machine that is on: %v", err)
	}
}

// TestCutTwice cuts the power of a machine that is off: the first cut counts.
func TestCutTwice(t *testing.T) {
	b := boot(t, t.Context(), sleeper(t))
	for range 2 {
		if how, err := b.Cut(); how != lab.PowerCut || err != nil {
			t.Errorf("Cut() = %v, %v; want %v", how, err, lab.PowerCut)
		}
	}
}

// TestCloseCuts closes a machine that is on.
func TestCloseCuts(t *testing.T) {
	m := sleeper(t)
	b := boot(t, t.Context(), m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if how, err := b.Wait(); how != lab.PowerCut || err != nil {
		t.Errorf("Wait() = %v, %v; want %v", how, err, lab.PowerCut)
	}
}

// TestQEMUDies has QEMU refuse its arguments: the error says why.
func TestQEMUDies(t *testing.T) {
	m := sleeper(t, "-device", "no-such-device")
	_, err := m.Boot(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "no-such-device") {
		t.Errorf("Boot() = %v, want QEMU's exit status and message", err)
	}
}
