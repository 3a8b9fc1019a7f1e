package gadget

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"clusterctrl/internal/node"
)

var errKilled = errors.New("killed")

// A mortal allows a number of changes and refuses all others. It leaves behind what a
// program leaves that is killed at that point.
type mortal struct {
	gadgets
	left int
	die  func() error
}

func (m *mortal) spend() error {
	if m.left == 0 {
		return m.die()
	}
	m.left--
	return nil
}

func (m *mortal) Mkdir(name string) error {
	if err := m.spend(); err != nil {
		return err
	}
	return m.gadgets.Mkdir(name)
}

func (m *mortal) Write(name, value string) error {
	if err := m.spend(); err != nil {
		return err
	}
	return m.gadgets.Write(name, value)
}

func (m *mortal) Symlink(target, name string) error {
	if err := m.spend(); err != nil {
		return err
	}
	return m.gadgets.Symlink(target, name)
}

func (m *mortal) Remove(name string) error {
	if err := m.spend(); err != nil {
		return err
	}
	return m.gadgets.Remove(name)
}

// unlimited is more changes than a gadget takes.
const unlimited = 1000

// builder returns a builder that dies after so many changes.
func (f *fakeFS) builder(changes int) builder {
	return builder{
		tree: &mortal{f, changes, func() error { return errKilled }},
		udcs: f.udcs,
		await: func(_ context.Context, try func() (progress, error)) error {
			p, err := try()
			if err == nil && p != bound {
				return errWaited
			}
			return err
		},
		hangUp:    func(string) error { return nil },
		mayUnbind: func() error { return nil },
	}
}

// snapshot returns every attribute that differs from the kernel's default, and
// every link.
func (f *fakeFS) snapshot() string {
	var lines []string
	for name, file := range f.MapFS {
		switch file.Mode.Type() {
		case fs.ModeSymlink:
			lines = append(lines, name+" -> "+string(file.Data))
		case 0:
			if value := strings.TrimRight(f.get(name), "\x00"); value != defaultOf(name) {
				lines = append(lines, name+" = "+value)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// defaultOf returns what the kernel has an attribute say.
func defaultOf(name string) string {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if value, ok := itemsOf(dir)[strings.TrimPrefix(name, dir+"/")]; ok {
			return value
		}
	}
}

func settingsOf(id node.ID, f node.Gadget) Settings {
	return Settings{Type: typeNode, ID: id, Gadget: f}
}

const rndis7 = `ClusterCTRL/UDC = fe980000.usb
ClusterCTRL/bDeviceClass = 0xef
ClusterCTRL/bDeviceProtocol = 0x01
ClusterCTRL/bDeviceSubClass = 0x02
ClusterCTRL/bcdDevice = 0x0100
ClusterCTRL/bcdUSB = 0x0200
ClusterCTRL/configs/c.1/MaxPower = 250
ClusterCTRL/configs/c.1/acm.usb0 -> ClusterCTRL/functions/acm.usb0
ClusterCTRL/configs/c.1/rndis.usb0 -> ClusterCTRL/functions/rndis.usb0
ClusterCTRL/functions/rndis.usb0/dev_addr = 00:22:82:ff:ff:07
ClusterCTRL/functions/rndis.usb0/host_addr = 00:22:82:ff:fe:07
ClusterCTRL/functions/rndis.usb0/os_desc/interface.rndis/compatible_id = RNDIS
ClusterCTRL/functions/rndis.usb0/os_desc/interface.rndis/sub_compatible_id = 5162001
ClusterCTRL/idProduct = 0x0020
ClusterCTRL/idVendor = 0x3171
ClusterCTRL/os_desc/b_vendor_code = 0xffffffcd
ClusterCTRL/os_desc/c.1 -> ClusterCTRL/configs/c.1
ClusterCTRL/os_desc/qw_sign = MSFT100
ClusterCTRL/os_desc/use = 1
ClusterCTRL/strings/0x409/manufacturer = 8086 Consultancy
ClusterCTRL/strings/0x409/product = ClusterCTRL
ClusterCTRL/strings/0x409/serialnumber = 7`

const ecm252 = `ClusterCTRL/UDC = fe980000.usb
ClusterCTRL/bDeviceClass = 0xef
ClusterCTRL/bDeviceProtocol = 0x01
ClusterCTRL/bDeviceSubClass = 0x02
ClusterCTRL/bcdDevice = 0x0100
ClusterCTRL/bcdUSB = 0x0200
ClusterCTRL/configs/c.1/MaxPower = 250
ClusterCTRL/configs/c.1/acm.usb0 -> ClusterCTRL/functions/acm.usb0
ClusterCTRL/configs/c.1/ecm.usb0 -> ClusterCTRL/functions/ecm.usb0
ClusterCTRL/functions/ecm.usb0/dev_addr = 00:22:82:ff:ff:fc
ClusterCTRL/functions/ecm.usb0/host_addr = 00:22:82:ff:fe:fc
ClusterCTRL/idProduct = 0x0022
ClusterCTRL/idVendor = 0x3171
ClusterCTRL/strings/0x409/manufacturer = 8086 Consultancy
ClusterCTRL/strings/0x409/product = ClusterCTRL-usbboot
ClusterCTRL/strings/0x409/serialnumber = 252`

func TestStart(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings Settings
		want     string
	}{
		{"rndis", settingsOf(7, node.RNDIS), rndis7},
		{"ncm", settingsOf(7, node.NCM), strings.NewReplacer(
			"rndis", "ncm", "RNDIS", "WINNCM", "0x0020", "0x0021", "0xffffffcd", "0xffffffbc",
			"ClusterCTRL/functions/rndis.usb0/os_desc/interface.rndis/sub_compatible_id = 5162001\n", "").Replace(rndis7)},
		{"ecm, booted over USB", Settings{typeUSBBoot, 252, node.ECM, ""}, ecm252},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake("fe990000.usb", "fe980000.usb")
			r, err := f.builder(unlimited).start(t.Context(), tt.settings)
			if diff := cmp.Diff(Report{Started, tt.settings, "fe980000.usb"}, r); err != nil || diff != "" {
				t.Fatalf("%v, report -want +got:\n%s", err, diff)
			}
			if diff := cmp.Diff(tt.want, f.snapshot()); diff != "" {
				t.Errorf("gadget -want +got:\n%s", diff)
			}
			// One that runs is left alone: not a single change.
			if r, err := f.builder(0).start(t.Context(), tt.settings); err != nil || r.Outcome != Running {
				t.Errorf("second start = %v, %v", r, err)
			}
			if r, err := f.builder(unlimited).stop(); err != nil || r.Outcome != Stopped || f.snapshot() != "" {
				t.Errorf("stop = %v, %v; left:\n%s", r, err, f.snapshot())
			}
			if r, err := f.builder(unlimited).stop(); err != nil || r.Outcome != Absent {
				t.Errorf("second stop = %v, %v", r, err)
			}
		})
	}
}

// If a program dies at any point, and its successor at any point, a third one copes with
// what they left.
func TestInterrupted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFake("a.usb", "b.usb")
		node := rapid.Custom(func(t *rapid.T) Settings {
			return Settings{
				Type:   rapid.SampledFrom([]string{typeNode, typeUSBBoot}).Draw(t, "type"),
				ID:     node.ID(rapid.IntRange(1, 252).Draw(t, "id")),
				Gadget: rapid.SampledFrom(node.Gadgets).Draw(t, "function"),
				UDC:    rapid.SampledFrom([]string{"", "a.usb", "b.usb"}).Draw(t, "udc"),
			}
		})
		for range rapid.IntRange(0, 4).Draw(rt, "deaths") {
			b := f.builder(rapid.IntRange(0, 50).Draw(rt, "changes"))
			if rapid.Bool().Draw(rt, "start") {
				b.start(context.Background(), node.Draw(rt, "settings")) // whatever comes of it
			} else {
				b.stop()
			}
		}
		s := node.Draw(rt, "final settings")
		r, err := f.builder(unlimited).start(context.Background(), s)
		if err != nil || r.Outcome == Stopped {
			rt.Fatalf("start = %v, %v", r, err)
		}
		fresh := newFake("a.usb", "b.usb")
		want := s
		want.UDC = r.UDC
		if _, err := fresh.builder(unlimited).start(context.Background(), want); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(fresh.snapshot(), f.snapshot()); diff != "" || s.UDC != "" && s.UDC != r.UDC {
			rt.Fatalf("gadget on %s -want +got:\n%s", r.UDC, diff)
		}
		if _, err := f.builder(unlimited).stop(); err != nil || f.snapshot() != "" {
			rt.Fatalf("stop: %v; left:\n%s", err, f.snapshot())
		}
	})
}

// The kernels of Buster's first images have no compatible id for NCM.
func TestOldKernel(t *testing.T) {
	f := newFake("a.usb")
	f.lacking = []string{"ncm os_desc"}
	s := settingsOf(7, node.NCM)
	if r, err := f.builder(unlimited).start(t.Context(), s); err != nil || r.Outcome != Started {
		t.Fatalf("start = %v, %v", r, err)
	}
	if r, err := f.builder(0).start(t.Context(), s); err != nil || r.Outcome != Running {
		t.Errorf("second start = %v, %v", r, err)
	}
	if r, err := f.builder(unlimited).stop(); err != nil || f.snapshot() != "" {
		t.Errorf("stop = %v, %v; left:\n%s", r, err, f.snapshot())
	}
}

// The program is killed after each of the changes that start makes.
func TestKilledAtEveryStep(t *testing.T) {
	for _, function := range node.Gadgets {
		for k := 0; ; k++ {
			f := newFake("a.usb")
			b := f.builder(k)
			if _, err := b.start(t.Context(), settingsOf(9, function)); err == nil {
				break
			} else if !errors.Is(err, errKilled) || k > unlimited {
				t.Fatalf("after %d changes: %v", k, err)
			}
			r, err := f.builder(unlimited).start(t.Context(), settingsOf(16, function))
			want := Rebuilt
			if k == 0 {
				want = Started
			}
			if err != nil || r.Outcome != want {
				t.Fatalf("start after one killed after %d changes = %v, %v; want outcome %d", k, r, err, want)
			}
		}
	}
}

func TestStartFails(t *testing.T) {
	for _, tt := range []struct {
		name     string
		spoil    func(*fakeFS)
		function node.Gadget
		udc      string
		message  string
	}{
		{"no rndis", func(f *fakeFS) { f.lacking = []string{"rndis"} }, node.RNDIS, "",
			"the kernel has no usb_f_rndis: set GADGET=ncm in /etc/default/clusterctrl"},
		{"no ncm", func(f *fakeFS) { f.lacking = []string{"rndis", "ncm"} }, node.NCM, "",
			"the kernel has no usb_f_ncm: set GADGET=ecm in /etc/default/clusterctrl"},
		{"no acm", func(f *fakeFS) { f.lacking = []string{"acm"} }, node.ECM, "", "the kernel has no usb_f_acm"},
		{"taken", func(f *fakeFS) { f.use("a.usb", "g_ether") }, node.RNDIS, "", "device controller a.usb is taken by g_ether"},
		{"not there", func(*fakeFS) {}, node.RNDIS, "c.usb", "UDC=c.usb: no such USB device controller"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake("a.usb")
			tt.spoil(f)
			s := settingsOf(7, tt.function)
			s.UDC = tt.udc
			r, err := f.builder(unlimited).start(t.Context(), s)
			if err == nil || !strings.HasPrefix(err.Error(), tt.message) || strings.Contains(err.Error(), "\n") {
				t.Errorf("start = %v, %v; want %s", r, err, tt.message)
			}
			if left := f.snapshot(); left != "" {
				t.Errorf("left:\n%s", left)
			}
		})
	}
}

// A device controller that goes away and comes back has forgotten the gadget.
func TestForgotten(t *testing.T) {
	f := newFake("a.usb")
	s := settingsOf(7, node.NCM)
	if _, err := f.builder(unlimited).start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	f.use("a.usb", "")
	if r, err := f.builder(unlimited).start(t.Context(), s); err != nil || r.Outcome != Rebuilt {
		t.Errorf("start = %v, %v; want it rebuilt", r, err)
	}
}

// A gadget that the root file system comes through stays as it is, whatever the
// settings say.
func TestRootThroughGadget(t *testing.T) {
	f := newFake("a.usb")
	s := Settings{typeUSBBoot, 7, node.ECM, ""}
	if _, err := f.builder(unlimited).start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	before := f.snapshot()
	b := f.builder(unlimited)
	refusal := errors.New("the root file system")
	b.mayUnbind = func() error { return refusal }
	if r, err := b.start(t.Context(), s); err != nil || r.Outcome != Running {
		t.Errorf("start of the same = %v, %v", r, err)
	}
	s.Gadget = node.NCM
	if r, err := b.start(t.Context(), s); !errors.Is(err, refusal) {
		t.Errorf("start of another = %v, %v", r, err)
	}
	if r, err := b.stop(); !errors.Is(err, refusal) {
		t.Errorf("stop = %v, %v", r, err)
	}
	if diff := cmp.Diff(before, f.snapshot()); diff != "" {
		t.Errorf("gadget -before +after:\n%s", diff)
	}
}

// What others made under our name is taken down as well.
func TestForeignParts(t *testing.T) {
	f := newFake("a.usb")
	for _, p := range []part{
		{directory, "ClusterCTRL", ""},
		{directory, "ClusterCTRL/strings/0x407", ""},
		{directory, "ClusterCTRL/configs/other.2", ""},
		{directory, "ClusterCTRL/configs/other.2/strings/0x409", ""},
		{directory, "ClusterCTRL/functions/ecm.usb1", ""},
		{link, "ClusterCTRL/configs/other.2/net", "ClusterCTRL/functions/ecm.usb1"},
		{link, "ClusterCTRL/os_desc/other.2", "ClusterCTRL/configs/other.2"},
		{attribute, "ClusterCTRL/UDC", "a.usb"},
	} {
		if err := p.make(f); err != nil {
			t.Fatal(err)
		}
	}
	r, err := f.builder(unlimited).start(t.Context(), settingsOf(7, node.RNDIS))
	if err != nil || r.Outcome != Rebuilt {
		t.Fatalf("start = %v, %v", r, err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(rndis7, "fe980000.usb", "a.usb"), f.snapshot()); diff != "" {
		t.Errorf("gadget -want +got:\n%s", diff)
	}
}
