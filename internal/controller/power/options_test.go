package power

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"pgregory.net/rapid"
)

func TestParseOptions(t *testing.T) {
	standard := Options{Size: 4, Delay: time.Second, FanLine: 18, Links: true, PowerOn: "none"}
	with := func(change func(*Options)) Options { o := standard; change(&o); return o }
	for _, tt := range []struct {
		text string
		want Options
		err  string
	}{
		{"", standard, ""},
		{"CLUSTERHAT_FORCE=\nCLUSTERHAT_SIZE=\nCLUSTERCTRL_DELAY=\n", standard, ""},
		{"CLUSTERHAT_FORCE=1.3\n", with(func(o *Options) { o.Force = Version{1, 3} }), ""},
		{"CLUSTERHAT_SIZE=2 # mini\n", with(func(o *Options) { o.Size = 2 }), ""},
		{"CLUSTERHATV1=1-1.2\n", with(func(o *Options) { o.HubPath = "1-1.2" }), ""},
		{"CLUSTERCTRL_DELAY=0.25\n", with(func(o *Options) { o.Delay = time.Second / 4 }), ""},
		{"CLUSTERCTRL_DELAY=30\n", with(func(o *Options) { o.Delay = 30 * time.Second }), ""},
		{"FANGPIO=12\nLINK=0\n", with(func(o *Options) { o.FanLine, o.Links = 12, false }), ""},
		{"POWER_ON=last\n", with(func(o *Options) { o.PowerOn = "last" }), ""},
		{"POWER_ON=p1 p3-p5\n", with(func(o *Options) { o.PowerOn = "p1 p3-p5" }), ""},
		{"POWER_ON=\"all\"\n", with(func(o *Options) { o.PowerOn = "all" }), ""},

		{"CLUSTERHAT_FORCE=1\n", Options{}, `CLUSTERHAT_FORCE=1: ClusterHAT version "1": want MAJOR.MINOR, 1.0 to 3.15`},
		{"CLUSTERHAT_FORCE=4.0\n", Options{}, `CLUSTERHAT_FORCE=4.0: ClusterHAT version "4.0": want MAJOR.MINOR, 1.0 to 3.15`},
		{"CLUSTERHAT_SIZE=5\n", Options{}, "CLUSTERHAT_SIZE=5: want 1 to 4"},
		{"CLUSTERHATV1=hub\n", Options{}, "CLUSTERHATV1=hub: want a USB path such as 1-1.2"},
		{"CLUSTERCTRL_DELAY=-1\n", Options{}, "CLUSTERCTRL_DELAY=-1: want seconds, 0 to 3600, such as 1 or 0.5"},
		{"CLUSTERCTRL_DELAY=nan\n", Options{}, "CLUSTERCTRL_DELAY=nan: want seconds, 0 to 3600, such as 1 or 0.5"},
		{"FANGPIO=54\n", Options{}, "FANGPIO=54: want 0 to 53"},
		{"LINK=yes\n", Options{}, "LINK=yes: want 0 or 1"},
		{"POWER_ON=p5-p1\n", Options{}, `POWER_ON=p5-p1: nodes "p5-p1": want the lower one first, p1-p5; or none, all or last`},
		{"POWER_ON='p1\n", Options{}, `line 1: POWER_ON: no closing '`},
	} {
		got, err := ParseOptions(defaults.Text(tt.text))
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %+v, %v; want %+v, %q", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9+]{0,2}\.?[0-9-]{0,3}`).Draw(t, "version")
		if v, err := ParseVersion(s); err == nil && v.String() != s {
			t.Fatalf("%q was taken for %v", s, v)
		}
	})
}

func FuzzProductVersion(f *testing.F) {
	for _, s := range []string{"0x0024", "36", "", "0x", "0x10000", "-1", "0x40"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseProductVersion(s); err == nil && (v.Major < 1 || v.Major > 3 || v.Minor > 15) {
			t.Errorf("%q is %v", s, v)
		}
	})
}

// TestPaths: the USB paths of nodes, by board.
func TestPaths(t *testing.T) {
	hub := func(b *bench, name, vendor, product string) {
		b.files["sys/bus/usb/devices/"+name+"/idVendor"] = &fstest.MapFile{Data: []byte(vendor + "\n")}
		b.files["sys/bus/usb/devices/"+name+"/idProduct"] = &fstest.MapFile{Data: []byte(product + "\n")}
	}
	for _, tt := range []struct {
		name    string
		put     func(*bench)
		plugged map[node.ID]string
		want    string
	}{
		{"v2.4, port 5-x", func(b *bench) { b.expander("0x0024"); hub(b, "1-1.2", "3171", "0040") }, nil, "1-1.2.4 1-1.2.3 1-1.2.2 1-1.2.1"},
		{"v2.6, port x", func(b *bench) { b.expander("0x0026"); hub(b, "1-1.2", "3171", "0041") }, nil, "1-1.2.1 1-1.2.2 1-1.2.3 1-1.2.4"},
		{"v3.1, port x", func(b *bench) { b.expander("0x0031"); hub(b, "3-1", "05e3", "0608") }, nil, "3-1.1 3-1.2 3-1.3 3-1.4"},
		{"v3.0, port 5-x", func(b *bench) { b.expander("0x0030"); hub(b, "1-1", "05e3", "0608") }, nil, "1-1.4 1-1.3 1-1.2 1-1.1"},
		{"another hub like it", func(b *bench) { b.expander("0x0020"); hub(b, "1-1", "05e3", "0608"); hub(b, "1-2", "05e3", "0608") }, nil, "   "},
		{"learnt from p3", func(b *bench) { b.expander("0x0020"); hub(b, "1-1", "05e3", "0608"); hub(b, "1-2", "05e3", "0608") },
			map[node.ID]string{1: "1-9.1", 3: "1-2.2"}, "1-2.4 1-2.3 1-2.2 1-2.1"},
		{"no hub", func(b *bench) { b.expander("0x0020") }, nil, "   "},
		{"board", func(b *bench) {
			b.ctrl("20", newPlayedCtrl(2, 20, 2)).paths = map[byte][]byte{0: {5}, 1: {1}, 2: {4, 2}}
			b.files["sys/bus/i2c/devices/i2c-20"] = &fstest.MapFile{Mode: os.ModeSymlink, Data: []byte("../../../devices/platform/x/usb1/1-1/1-1.3/1-1.3.5/1-1.3.5:1.0/i2c-20")}
		}, nil, "1-1.3.1 1-1.3.4.2"},
		{"board elsewhere than it says", func(b *bench) {
			b.ctrl("20", newPlayedCtrl(1, 20, 2)).paths = map[byte][]byte{0: {5}, 1: {1}}
			b.files["sys/bus/i2c/devices/i2c-20"] = &fstest.MapFile{Mode: os.ModeSymlink, Data: []byte("../../../devices/usb1/1-1/1-1:1.0/i2c-20")}
		}, nil, ""},
		{"board on a root hub", func(b *bench) {
			b.ctrl("20", newPlayedCtrl(2, 20, 2)).paths = map[byte][]byte{0: {5}, 1: {1}, 2: {4, 2}}
			b.files["sys/bus/i2c/devices/i2c-20"] = &fstest.MapFile{Mode: os.ModeSymlink, Data: []byte("../../../devices/usb3/3-5/3-5:1.0/i2c-20")}
		}, nil, "3-1 3-4.2"},
		{"Stack", func(b *bench) {
			b.ctrl("20", newPlayedCtrl(2, 20, 4))
			b.files["sys/bus/i2c/devices/i2c-20"] = &fstest.MapFile{Mode: os.ModeSymlink, Data: []byte("../../../devices/usb1/1-1/1-1:1.0/i2c-20")}
		}, nil, " "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			tt.put(b)
			boards := must[Boards](t)(b.boards(Options{}))
			boards.Learn(tt.plugged)
			var got []string
			for _, id := range boards.IDs() {
				got = append(got, must[string](t)(boards.Path(id)))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("paths %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLinkBoot: links of nodes that have boot files or a disk are made, stale ones go, other
// files stay, and what a node put into its root is not followed.
func TestLinkBoot(t *testing.T) {
	b := newBench()
	b.expander("0x0026")
	for name, text := range map[string]string{"idVendor": "3171", "idProduct": "0040"} {
		b.files["sys/bus/usb/devices/1-1.2/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	boards := must[Boards](t)(b.boards(Options{}))
	dir, roots, disks := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{"p1/boot/firmware", "p2/boot", "p3"} {
		if err := os.MkdirAll(filepath.Join(roots, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disks, "p2"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Mkdir(filepath.Join(outside, "firmware"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		filepath.Join(roots, "p3/boot"):     outside, // p3's own doing
		filepath.Join(dir, "1-1.2.2"):       "/elsewhere",
		filepath.Join(dir, "1-9.9"):         roots + "/p2/boot/firmware",
		filepath.Join(dir, "1-1.2.4"):       "dangling",
		filepath.Join(dir, "bootcode.bin"):  "/boot/firmware/bootcode.bin",
		filepath.Join(dir, "1-1.2:1.0.bak"): "mine",
	} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := boards.LinkBoot(dir, roots, disks); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
			got = append(got, e.Name()+" "+must[string](t)(os.Readlink(filepath.Join(dir, e.Name()))))
		}
		want := []string{"1-1.2.1 " + roots + "/p1/boot/firmware", "1-1.2.2 " + disks + "/p2", "1-1.2:1.0.bak mine", "bootcode.bin /boot/firmware/bootcode.bin"}
		if !slices.Equal(got, want) {
			t.Errorf("links %q; want %q", got, want)
		}
	}
}

func TestLast(t *testing.T) {
	last := Last(t.TempDir())
	if ids, err := last.Nodes(); len(ids) > 0 || err != nil {
		t.Errorf("before any command: %v, %v", ids, err)
	}
	for _, command := range []struct {
		id node.ID
		on bool
	}{{7, true}, {3, true}, {1, true}, {3, false}, {7, true}} {
		if err := last.Note(command.id, command.on); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := last.Nodes(); !slices.Equal(ids, []node.ID{1, 7}) || err != nil {
		t.Errorf("%v, %v; want p1 and p7", ids, err)
	}
	if text := must[[]byte](t)(os.ReadFile(last.file())); string(text) != "p1:1\np3:0\np7:1\n" {
		t.Errorf("file %q", text)
	}
	if files := must[[]os.DirEntry](t)(os.ReadDir(string(last))); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if err := os.WriteFile(last.file(), []byte("p1:1\np2:yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Nodes(); err == nil || !strings.HasSuffix(err.Error(), `line "p2:yes\n": want a node and its state, such as p1:1`) {
		t.Error(err)
	}
}
