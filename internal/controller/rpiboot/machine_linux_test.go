package rpiboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"clusterctrl/internal/lab/bootrom"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbip"
)

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine serves bare Pis that are played to a real kernel: see [inMachine].
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	vm.Boot(t, labtest.Initramfs{Modules: []string{"vhci-hcd"}})
}

// ports is how many Pis there are at once: as many as a virtual host has ports.
const ports = 8

// A room has a server and what its Pis have told.
type room struct {
	dir string

	mu    sync.Mutex
	told  *sync.Cond
	steps map[string]int // how often a Pi came to a step, by USB path and step
	// pull pulls out the Pi at a USB path, if the server must not give it up.
	pull map[string]context.CancelCauseFunc
}

func (r *room) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[e.Path+" "+string(e.Step)]++
	r.told.Broadcast()
	if pull := r.pull[e.Path]; pull != nil && e.Step == Failed {
		pull(fmt.Errorf("the server gave it up: %w", e.Err))
	}
}

// minds pulls out the Pi at a USB path when the server gives it up, since the Pi would
// wait for ever. It does so until the context ends.
func (r *room) minds(ctx context.Context, path string) context.Context {
	ctx, pull := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull[path] = pull
	return ctx
}

// await waits until a Pi has come to a step n times.
func (r *room) await(path string, step Step, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.steps[path+" "+string(step)] < n {
		r.told.Wait()
	}
}

// usbPath is the path of a port of the virtual host.
func usbPath(port int) string { return fmt.Sprintf("1-%d", port+1) }

func newRoom(t *testing.T) *room {
	r := &room{dir: t.TempDir(), steps: map[string]int{}, pull: map[string]context.CancelCauseFunc{}}
	r.told = sync.NewCond(&r.mu)
	files := map[string][]byte{
		"bootcode.bin": noise(50_003, 1), "config.txt": []byte("# common\n"),
		"2710/bootcode.bin": noise(40_000, 2), "2710/start.elf": noise(3_000_001, 3), "start.elf": noise(2_000_000, 4), "fixup.dat": noise(7_000, 5),
	}
	for port := range ports {
		own := usbPath(port) + "/"
		seed := uint64(100 * port)
		files[own+"config.txt"] = fmt.Appendf(nil, "# p%d\n", port)
		files[own+"cmdline.txt"] = fmt.Appendf(nil, "p%d\n", port)
		files[own+"kernel.img"] = noise(6_000_000, seed+1)
		files[own+"initramfs"] = noise(4_000_000, seed+2)
		files[own+"bcm2708-rpi-zero.dtb"] = noise(30_000, seed+3)
		files[own+"overlays/dwc2.dtbo"] = noise(801, seed+4)
		files[own+"overlays/old-overlay.dtb"] = noise(802, seed+5)
		files[own+"bootcode.bin"] = noise(100, seed+6) // never given to anybody
	}
	for name, content := range files {
		write(t, r.dir, map[string]string{name: string(content)})
	}
	return r
}

// noise is content of a length that no other file has.
func noise(size int, seed uint64) []byte {
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(content)
	return content
}

// pi is a bare Pi on a port. It keeps what it fetched.
func (r *room) pi(port int, product uint16, interfaces int) (*bootrom.Pi, map[string][]byte) {
	got := map[string][]byte{}
	return &bootrom.Pi{
		Product: product, Interfaces: interfaces,
		Files: func(name string, content []byte) { got[name] = content },
		Port: func(ctx context.Context, d usb.Device) error {
			plug, err := usb.PlugIn(ctx, usbip.Port(port), d)
			if err != nil {
				return err
			}
			<-ctx.Done()
			plug.Pull()
			return errors.Join(plug.Wait(), left(usbPath(port)))
		},
	}, got
}

// left waits until the kernel has seen a device leave. A transfer that is under way
// until then would be one of the device that comes next on the port.
func left(usbPath string) error {
	return uevent.Wait(context.Background(), func() (bool, error) {
		// The directory itself goes after the event.
		return attribute(filepath.Join(usbDevices, usbPath), "idVendor") == "", nil
	}, "usb")
}

func inMachine(t *testing.T) {
	if err := os.Mkdir(os.TempDir(), 0o700); err != nil { // an initramfs has none
		t.Fatal(err)
	}
	r := newRoom(t)
	ctx, stop := context.WithCancel(t.Context())
	server := Server{Dir: r.dir, Overlay: true, Report: r.report}
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()

	var pis sync.WaitGroup
	for port := range ports {
		pis.Go(func() {
			switch port {
			case 4:
				r.stalls(t, port)
			case 5:
				r.pulled(t, port)
			case 6:
				r.nonsense(t, port)
			case 7:
				r.refuses(t, port)
			}
			r.boots(t, port) // and then, as the others do at the same time
		})
	}
	pis.Wait()
	stop()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("the server ended with %v", err)
	}
	once(t, r)
}

// boots has a Pi fetch all that it needs, and compares each byte.
func (r *room) boots(t *testing.T, port int) {
	product, interfaces, chip := bootrom.Zero, 1, ""
	if port%2 == 1 {
		product, interfaces, chip = bootrom.Zero2, 2, "2710/"
	}
	pi, got := r.pi(port, product, interfaces)
	ctx := r.minds(t.Context(), usbPath(port))
	if err := pi.Load(ctx); err != nil {
		t.Errorf("%s: %v", usbPath(port), err)
		return
	}
	system := bootrom.System("kernel.img", "initramfs", "bcm2708-rpi-zero.dtb", "dwc2", "old", "none")
	if err := pi.Run(ctx, system); err != nil {
		t.Errorf("%s: start.elf: %v", usbPath(port), err)
		return
	}
	want := map[string]string{ // where each file comes from
		"bootcode.bin": chip + "bootcode.bin", "start.elf": chip + "start.elf", "fixup.dat": "fixup.dat",
	}
	for _, name := range []string{"config.txt", "cmdline.txt", "kernel.img", "initramfs", "bcm2708-rpi-zero.dtb", "overlays/dwc2.dtbo", "overlays/old-overlay.dtb"} {
		want[name] = usbPath(port) + "/" + name
	}
	for name, from := range want {
		content, err := os.ReadFile(filepath.Join(r.dir, from))
		if err != nil || !bytes.Equal(got[name], content) {
			t.Errorf("%s: %d bytes came as %s, want the %d of %s (%v)", usbPath(port), len(got[name]), name, len(content), from, err)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: fetched %d files, want %d", usbPath(port), len(got), len(want))
	}
}

// pulled has Pis leave at each of their messages.
func (r *room) pulled(t *testing.T, port int) {
	gone := errors.New("pulled out")
	for at := range 6 {
		pi, _ := r.pi(port, bootrom.Zero2, 2)
		err := pi.Run(t.Context(), func(h *bootrom.Host) error {
			r.await(usbPath(port), Found, at+1)
			for range at {
				if _, err := h.Fetch("fixup.dat"); err != nil {
					return err
				}
			}
			return gone
		})
		if !errors.Is(err, gone) {
			t.Errorf("%s: %v after %d files", usbPath(port), err, at)
		}
		r.await(usbPath(port), Failed, at+1)
	}
}

// nonsense has Pis send messages that no Pi sends, until the server gives them up.
func (r *room) nonsense(t *testing.T, port int) {
	gone := errors.New("pulled out")
	for i, text := range [][]byte{{}, {1, 2, 3}, bytes.Repeat([]byte{0xff}, 260), append([]byte{7, 0, 0, 0, 'x'}, make([]byte, 255)...)} {
		pi, _ := r.pi(port, bootrom.Zero, 1)
		err := pi.Run(t.Context(), func(h *bootrom.Host) error {
			if err := h.Say(text); err != nil {
				return err
			}
			r.await(usbPath(port), Failed, i+1)
			return gone
		})
		if !errors.Is(err, gone) {
			t.Errorf("%s said %x: %v", usbPath(port), text, err)
		}
	}
}

// refuses has a ROM refuse bootcode some times.
func (r *room) refuses(t *testing.T, port int) {
	pi, got := r.pi(port, bootrom.Zero2, 2)
	pi.Refusals = 3
	if _, err := pi.ROM(t.Context()); err != nil {
		t.Errorf("%s: %v", usbPath(port), err)
	}
	r.await(usbPath(port), Retried, 3)
	if len(got["bootcode.bin"]) != 40_000 {
		t.Errorf("%s: took %d bytes of bootcode, want 40000", usbPath(port), len(got["bootcode.bin"]))
	}
}

// stalls has a ROM stall some times, and another do so for ever, which the server gives
// up.
func (r *room) stalls(t *testing.T, port int) {
	pi, got := r.pi(port, bootrom.Zero2, 2)
	pi.Stalls = romTries - 1
	if _, err := pi.ROM(r.minds(t.Context(), usbPath(port))); err != nil || len(got["bootcode.bin"]) != 40_000 {
		t.Errorf("%s: took %d bytes of bootcode, want 40000: %v", usbPath(port), len(got["bootcode.bin"]), err)
	}
	r.await(usbPath(port), Retried, romTries-1)
	pi.Stalls = romTries
	if _, err := pi.ROM(r.minds(t.Context(), usbPath(port))); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%s: a ROM that stalls for ever ends with %v", usbPath(port), err)
	}
	r.await(usbPath(port), Failed, 1)
}

// once has a server that ends with the first Pi that has its system.
func once(t *testing.T, r *room) {
	server := Server{Dir: r.dir, Overlay: true, Once: true, Report: r.report}
	served := make(chan error, 1)
	go func() { served <- server.Run(t.Context()) }()
	r.boots(t, 0)
	if err := <-served; err != nil {
		t.Errorf("a server of one Pi ended with %v", err)
	}
}
