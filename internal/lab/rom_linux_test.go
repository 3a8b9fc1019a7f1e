package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"clusterctrl/internal/controller/rpiboot"
	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/initramfs"
	"github.com/google/go-cmp/cmp"
)

// A server is the controller's end of a cable, with the boot files of a bare node and
// without a kernel.
type server struct {
	files fs.FS
	heard func(file string) // called with each file that is read

	mu    sync.Mutex
	asked []string // files that were asked for, each once for its size and itself
}

// wire is a USB host as package rpiboot uses it.
type wire struct{ *usb.Host }

func (w wire) Control(in bool, value, index uint16, data []byte, _ time.Duration) (int, error) {
	setup := usb.Setup{Type: usb.VendorOut, Value: value, Index: index}
	if in {
		setup.Type = usb.VendorIn
	}
	return w.Host.Control(setup, data)
}

func (w wire) BulkOut(endpoint uint8, data []byte, _ time.Duration) (int, error) {
	return w.Out(endpoint, data)
}

// attach serves a device until it leaves.
func (s *server) attach(ctx context.Context, socket *os.File) error {
	host, err := usb.Connect(socket)
	if err != nil {
		return err
	}
	var raw []byte
	for _, part := range []struct{ kind, size uint16 }{{1, 18}, {2, 9}} { // device, configuration
		data := make([]byte, part.size)
		if _, err := host.Control(usb.Setup{Type: 0x80, Request: 6, Value: part.kind << 8}, data); err != nil {
			return err
		}
		raw = append(raw, data...)
	}
	pi, ok, err := rpiboot.ParseDescriptors(raw)
	if err != nil || !ok || pi.Chip != "2710" {
		return fmt.Errorf("%+v, %v: want a Zero 2 W", pi, err)
	}
	conn := rpiboot.Conn{Transport: wire{host}, Endpoint: pi.Endpoint, Log: s.log}
	if pi.InROM {
		s.log(rpiboot.Request{Name: "bootcode.bin", Read: true})
		program, err := fs.ReadFile(s.files, "bootcode.bin")
		err = errors.Join(err, conn.SendBootcode(program))
		if err != nil {
			return err
		}
	} else if err := conn.ServeFiles(s.files); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *server) log(r rpiboot.Request) {
	if !r.Read && r.Err == nil {
		return // it is read next
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Name)
	s.mu.Unlock()
	if s.heard != nil {
		s.heard(r.Name)
	}
}

// newROM is a bare node whose cable leads to a server.
func newROM(t *testing.T, s *server) *rom {
	t.Helper()
	r := &rom{kernel: Kernel{Name: "the lab's", Release: "6.1.0-1-arm64"}, addition: filepath.Join(t.TempDir(), "addition"), cable: new(cable.Cable), dir: t.TempDir(), screen: t.Output()}
	if err := os.WriteFile(r.addition, []byte("ours,"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside, outside := net.Pipe()
	end := &cable.End{Stream: inside, Attach: s.attach, Log: t.Output()}
	var done sync.WaitGroup
	done.Go(func() { end.Run() })
	done.Go(func() { r.cable.Serve(cable.Controller, outside) })
	t.Cleanup(func() {
		inside.Close()
		done.Wait()
	})
	r.cable.Plug(true)
	return r
}

// given is what the controller has for a bare node.
func given() fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"bootcode.bin": "bootcode", "start.elf": "start", "fixup.dat": "fixup",
		"config.txt":  "auto_initramfs=1\n[pi02]\ndtoverlay=dwc2,dr_mode=peripheral\n[pi4]\nkernel=none\n[all]\ndtoverlay=other\n",
		"cmdline.txt": "root=/dev/nfs rw\n", "kernel8.img": strings.Repeat("k", 20<<10) + bannerOf, "initramfs8": "given",
		"bcm2837-rpi-zero-2-w.dtb": "tree", "overlays/dwc2.dtbo": "dwc2",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// wanted are the files that the node asks for, in its order.
var wanted = []string{
	"bootcode.bin",
	"autoboot.txt", "config.txt", "recovery.elf", "start.elf", "fixup.dat",
	"config.txt", "config.txt", "cmdline.txt", "kernel8.img", "initramfs8",
	"bcm2710-rpi-zero-2-w.dtb", "bcm2710-rpi-zero-2.dtb", "bcm2837-rpi-zero-2-w.dtb",
	"config.txt", "overlays/dwc2.dtbo", "overlays/other.dtbo", "overlays/other-overlay.dtb", "overlays/other.dtb",
}

// loads has a bare node start from what a server has, and wants it to be whole.
func loads(t *testing.T, r *rom) {
	t.Helper()
	s, err := r.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{s.Kernel, s.Initramfs} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimLeft(string(data), "k"))
	}
	if diff := cmp.Diff([]string{bannerOf, "ours,given", "root=/dev/nfs rw", ""}, append(got, s.CommandLine, s.DeviceTree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	s := &server{files: given()}
	loads(t, newROM(t, s))
	if diff := cmp.Diff(wanted, s.asked); diff != "" {
		t.Errorf("asked for, -want +got:\n%s", diff)
	}
}

// TestLoadPulled pulls the plug while a file is on its way, once for each part of a
// start, and puts it in again. The node begins again each time.
func TestLoadPulled(t *testing.T) {
	for _, file := range []string{"bootcode.bin", "start.elf", "kernel8.img"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := &server{files: given()}
			r := newROM(t, s)
			var once sync.Once
			s.heard = func(name string) {
				if name == file {
					once.Do(func() {
						r.cable.Plug(false)
						r.cable.Plug(true)
					})
				}
			}
			loads(t, r)
			want := append(wanted[:1+slices.Index(wanted, file):len(wanted)], wanted...)
			if diff := cmp.Diff(want, s.asked); diff != "" {
				t.Errorf("asked for, -want +got:\n%s", diff)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct{ missing, text, err string }{
		{"bootcode.bin", "", "boot over USB: ROM: it was given no bootcode"},
		{"start.elf", "", "boot over USB: bootcode.bin: fetch start.elf: file does not exist"},
		{"cmdline.txt", "", "boot over USB: start.elf: fetch cmdline.txt: file does not exist"},
		{"kernel8.img", "", "boot over USB: start.elf: fetch kernel8.img: file does not exist"},
		{"kernel8.img", "a text", "boot over USB: no kernel for arm64 that says its version"},
		{"kernel8.img", strings.Replace(bannerOf, "6.1", "6.12", 1), "boot over USB: initramfs: neither cpio nor packed by gzip or zstd"},
		{"initramfs8", "", "boot over USB: no initramfs came, want one"},
	} {
		t.Run(tt.missing+tt.text, func(t *testing.T) {
			t.Parallel()
			files := given()
			if files[tt.missing].Data = []byte(tt.text); tt.text == "" && tt.missing != "bootcode.bin" {
				delete(files, tt.missing)
			}
			if s, err := newROM(t, &server{files: files}).load(t.Context()); err == nil || err.Error() != tt.err {
				t.Errorf("load() = %+v, %v; want %q", s, err, tt.err)
			}
		})
	}
}

// TestLoadOtherKernel gives a node a kernel that the lab has no drivers for.
func TestLoadOtherKernel(t *testing.T) {
	files := given()
	files["kernel8.img"].Data = []byte(strings.Replace(bannerOf, "6.1", "6.12", 1))
	var archive bytes.Buffer
	if err := (initramfs.Archive{Init: []byte("#!")}).Write(&archive, nil); err != nil {
		t.Fatal(err)
	}
	files["initramfs8"].Data = archive.Bytes()
	r := newROM(t, &server{files: files})
	r.kernel.Image, r.kernel.Modules = []byte("ours"), fstest.MapFS{"modules.dep": {Data: []byte("kernel/nfsv4.ko:\n")}, "kernel/nfsv4.ko": {Data: []byte("a module")}}
	s, err := r.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(s.Kernel)
	if err != nil || string(kernel) != "ours" {
		t.Errorf("kernel %q, %v; want the lab's", kernel, err)
	}
	given, err := os.ReadFile(s.Initramfs)
	if err != nil || !bytes.Contains(given, []byte("modules/000-nfsv4")) || !bytes.HasPrefix(given, []byte("ours,")) {
		t.Errorf("initramfs %q, %v; want the lab's part, and a module of the lab's kernel", given, err)
	}
}

// TestLoadCut cuts the power of a node that waits for a controller.
func TestLoadCut(t *testing.T) {
	r := &rom{cable: new(cable.Cable), screen: io.Discard}
	ctx, cut := context.WithCancelCause(t.Context())
	r.screen = screenFunc(func() { cut(errCut) }) // it waits
	if _, err := r.load(ctx); !errors.Is(err, errCut) {
		t.Errorf("load() = %v, want %v", err, errCut)
	}
}

type screenFunc func()

func (f screenFunc) Write(p []byte) (int, error) { f(); return len(p), nil }
