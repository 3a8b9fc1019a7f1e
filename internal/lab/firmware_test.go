package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestFirmware(t *testing.T) {
	stock := map[string]string{
		"cmdline.txt":          "root=PARTUUID=1-02 init=/sbin/x p7 \n",
		"kernel.img":           "v6",
		"kernel8.img":          "v8",
		"initramfs":            "i6",
		"initramfs8":           "i8",
		"bcm2710-rpi-3-b.dtb":  "t3",
		"bcm2708-rpi-zero.dtb": "t0",
	}
	type boot struct{ Kernel, Initramfs, Tree, Line string }
	const line = "root=PARTUUID=1-02 init=/sbin/x p7 "
	for _, tt := range []struct {
		name, model, config string
		more                map[string]string // files; - for none
		want                boot
	}{
		{"stock", "raspi3b", "auto_initramfs=1\n", nil, boot{"v8", "i8", "t3", line}},
		{"stock on a Zero", "raspi0", "auto_initramfs=1\n", nil, boot{"v6", "i6", "t0", line}},
		{"no config.txt", "raspi3b", "", map[string]string{"config.txt": "-"}, boot{"v8", "", "t3", line}},
		{"no initramfs there", "raspi3b", "auto_initramfs=1", map[string]string{"initramfs8": "-"}, boot{"v8", "", "t3", line}},
		{"auto off", "raspi3b", "auto_initramfs=1\nauto_initramfs=0", nil, boot{"v8", "", "t3", line}},
		{"named", "raspi3b", "kernel=k\ninitramfs i followkernel\ncmdline=c\ndevice_tree=d",
			map[string]string{"k": "K", "i": "I", "c": "C\r\nmore", "d": "D"}, boot{"K", "I", "D", "C\r"}},
		{"two initramfs", "raspi3b", "initramfs initramfs,initramfs8 0x00800000", nil, boot{"v8", "i6i8", "t3", line}},
		{"sections", "raspi3b", "[pi4]\r\nkernel=a\r\n[PI3]\r\nkernel = kernel.img\r\n[none]\r\nkernel=b\r\n[all]\r\n#kernel=c", nil, boot{"v6", "", "t3", line}},
		{"prefix", "raspi3b", "os_prefix=new/\nauto_initramfs=1",
			map[string]string{"new/kernel8.img": "N8", "new/cmdline.txt": "N", "new/bcm2837-rpi-3-b.dtb": "Nt"}, boot{"N8", "", "Nt", "N"}},
		{"prefix without kernel", "raspi3b", "os_prefix=new/", map[string]string{"new/cmdline.txt": "N"}, boot{"v8", "", "t3", line}},
		{"Debian's tree", "raspi3b", "", map[string]string{"bcm2710-rpi-3-b.dtb": "-", "bcm2837-rpi-3-b.dtb": "d3"}, boot{"v8", "", "d3", line}},
		{"no tree", "raspi3b", "", map[string]string{"bcm2710-rpi-3-b.dtb": "-"}, boot{}},
		{"no kernel", "raspi3b", "", map[string]string{"kernel8.img": "-"}, boot{}},
		{"no cmdline.txt", "raspi3b", "", map[string]string{"cmdline.txt": "-"}, boot{}},
		{"no such initramfs", "raspi3b", "initramfs x", nil, boot{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{"config.txt": {Data: []byte(tt.config)}}
			for _, set := range []map[string]string{stock, tt.more} {
				for name, data := range set {
					files[name] = &fstest.MapFile{Data: []byte(data)}
					if data == "-" {
						delete(files, name)
					}
				}
			}
			b, err := models[tt.model].firmware(files.ReadFile)
			got := boot{string(b.kernel), string(b.initramfs), string(b.deviceTree), b.commandLine}
			if err != nil {
				got = boot{}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.want != boot{}) {
				t.Errorf("firmware(): %v; -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	debian := models["raspi3b"].treeFor("/boot/bcm2837-rpi-3-b.dtb")
	for _, tt := range []struct {
		name, line string
		extra      []string
		want       string
	}{
		{"stock", "console=serial0,115200 console=tty1 root=x init=/sbin/x p7", nil, "console=tty1 console=ttyS1,115200 root=x init=/sbin/x p7"},
		{"none", "root=x init=/sbin/x p7", nil, "console=ttyS1,115200 root=x init=/sbin/x p7"},
		{"empty", "", nil, "console=ttyS1,115200"},
		{"there", "root=x console=ttyS1,9600 quiet", nil, "console=ttyS1,115200 root=x quiet"},
		{"further", "root=x console=tty1 quiet", []string{"a", "b=c"}, "root=x console=tty1 console=ttyS1,115200 a b=c quiet"},
		{"another serial port", "console=ttyS10,115200 init=/x p7", nil, "console=ttyS10,115200 console=ttyS1,115200 init=/x p7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := models["raspi3b"].commandLine(debian, tt.line, tt.extra); got != tt.want {
				t.Errorf("commandLine() = %q, want %q", got, tt.want)
			}
		})
	}
	zero := models["raspi0"]
	if got, want := zero.commandLine(zero.trees[1], "init=/x p7", nil), "console=ttyAMA0,115200 initcall_blacklist=bcm2835_pm_driver_init init=/x p7"; got != want {
		t.Errorf("commandLine() = %q, want %q", got, want)
	}
}

func TestCardSize(t *testing.T) {
	for size, want := range map[int64]int64{1: 1 << 20, 1 << 20: 1 << 20, 1<<20 + 1: 2 << 20, 1 << 31: 1 << 31, 1<<31 + 512: 1 << 32} {
		if got := cardSize(size); got != want {
			t.Errorf("cardSize(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "odd.img")
	if err := os.WriteFile(odd, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		config Config
		want   string
	}{
		{"model", Config{Model: "raspi9"}, `machine "raspi9": want one of amd64, arm64, raspi0, raspi3b`},
		{"no software", Config{Model: "amd64", Image: odd}, `machine "amd64" has no firmware to find a kernel: want Software`},
		{"no software, no image", Config{Model: "raspi0"}, "want an Image or Software"},
		{"size", Config{Model: "raspi0", Image: odd, InPlace: true}, "3145728 bytes: want a power of two, 4194304, or a copy"},
		{"no image", Config{Model: "raspi0", Image: odd + "x"}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Dir = t.TempDir()
			t.Setenv("TMPDIR", tt.config.Dir)
			if _, err := New(t.Context(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New() = %v, want %q", err, tt.want)
			}
			if left, err := os.ReadDir(tt.config.Dir); len(left) > 0 || err != nil {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestBootRefuses switches on machines that cannot start.
func TestBootRefuses(t *testing.T) {
	blank := filepath.Join(t.TempDir(), "blank.img")
	if err := os.WriteFile(blank, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	nothing := &Software{Kernel: blank + "x"}
	for _, tt := range []struct {
		name   string
		config Config
		path   string
		want   string
	}{
		{"no partitions", Config{Model: "raspi0", Image: blank}, os.Getenv("PATH"), blank + ": no partition table"},
		{"no kernel", Config{Model: "raspi0", Software: nothing}, os.Getenv("PATH"), "could not load kernel"},
		{"no QEMU", Config{Model: "raspi0", Software: nothing}, t.TempDir(), "to install it: apt-get install qemu-system-arm"},
		{"no QEMU for amd64", Config{Model: "amd64", Software: nothing}, t.TempDir(), "to install it: apt-get install qemu-system-x86"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			m, err := New(t.Context(), tt.config)
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", tt.path)
			if _, err := m.Boot(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Boot() = %v, want %q", err, tt.want)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
