package firstboot

import (
	"errors"
	"io/fs"
	"math/rand"
	"strings"
	"testing"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
)

// A card whose role cannot be read becomes an unconfigured node, which disturbs no other
// node on the cable and says what is wrong. Our words are gone from its command line, and
// all others are left.
func TestRefuse(t *testing.T) {
	const ordinary = "console=serial0,115200 console=tty1 root=PARTUUID=5a3d1c0e-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot"
	for _, tt := range []struct{ asked, argv, want, said string }{
		{"p0", "p0", ordinary, `role "p0": want cbridge, cnat, or p1 to p252`},
		{"p253", "p253", ordinary, `"p253"`},
		{"p08", "p08", ordinary, `"p08"`},
		{"p010", "p010", ordinary, `"p010"`},
		{"P7", "P7", ordinary, `"P7"`},
		{"p7x", "p7x", ordinary, `"p7x"`},
		{"cnat2", "cnat2 s", ordinary, `"cnat2"`},
		{"", "", ordinary, "no role"},
		{"splash", "splash s", ordinary + " splash", `"splash"`},
		{"p7x systemd.run=/a", "p7x systemd.run=/a", ordinary + " systemd.run=/a", `"p7x"`},
		{"p\\7", "p\\7", ordinary, `"p\\7"`},
	} {
		t.Run(tt.asked, func(t *testing.T) {
			p := newPi()
			p.ask(t, tt.asked)
			m := p.start(strings.Fields(tt.argv)...)
			unconfigured(t, m, tt.said)
			if got := strings.Join(strings.Fields(p.files(t)[CommandLine]), " "); got != tt.want {
				t.Errorf("%s is %q, want %q", CommandLine, got, tt.want)
			}
		})
	}
}

// unconfigured fails the test unless a Pi restarts as an unconfigured node, and says why
// where people look.
func unconfigured(t *testing.T, m *machine, why string) {
	t.Helper()
	if m.restarts != 1 || len(m.execs) != 0 || !m.readOnly {
		t.Errorf("%d restarts, execs %q, said %q; want one restart", m.restarts, m.execs, m.said)
	}
	for name, want := range map[string]string{
		"etc/hostname":            "p253\n",
		"etc/default/clusterctrl": "\nTYPE=node\n# Number of the node, 1 to 252.\nID=253\n",
		"etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection": "\naddress1=172.19.181.253/24\n",
		"etc/issue": "NOT CONFIGURED: ",
	} {
		if text, err := fs.ReadFile(m.root, name); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %q, %v; want %q in it", name, text, err, want)
		}
	}
	for _, unit := range []string{"getty.target.wants/serial-getty@ttyGS0.service", "multi-user.target.wants/clusterctrl-composite.service"} {
		if _, err := m.root.Lstat("etc/systemd/system/" + unit); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.root.Lstat("etc/systemd/system/multi-user.target.wants/clusterctrl-init.service"); err == nil {
		t.Error("it starts what a controller starts")
	}
	banner, _ := fs.ReadFile(m.root, "etc/issue")
	files := m.files(t)
	for where, text := range map[string]string{
		"the banner": strings.ReplaceAll(string(banner), `\\`, `\`), ErrorFile: files[ErrorFile], "the console": strings.Join(m.said, "\n"),
	} {
		if !strings.Contains(text, why) {
			t.Errorf("%s says %q, want %q", where, text, why)
		}
	}
	if recipe.StartsBranding(files[CommandLine]) || !strings.Contains(files["config.txt"], "dr_mode=peripheral") && !strings.Contains(files[ErrorFile], "config.txt") {
		t.Errorf("%s is %q, config.txt is %q", CommandLine, files[CommandLine], files["config.txt"])
	}
	if _, err := m.root.Lstat(attemptsFile); err == nil {
		t.Errorf("%s is left", attemptsFile)
	}
}

// A Pi that is a member already stays one: it may be a controller that somebody works on.
func TestMemberStays(t *testing.T) {
	for _, tt := range []struct {
		was, asked, said string
		blocked          bool // by a directory in the place of a file
	}{
		{"cnat", "cnatt", `"cnatt"`, false},
		{"p7", "p300", `"p300"`, false},
		{"p7", "p9", "is a directory", true},
	} {
		t.Run(tt.was+" "+tt.asked, func(t *testing.T) {
			p := finished(t, tt.was)
			p.ask(t, tt.asked)
			if tt.blocked {
				must(p.root.Remove("etc/exports"))
				must(p.root.Mkdir("etc/exports", 0o755))
			}
			clean := p.clone()
			m := p.start(tt.asked, "s")
			startsAsItIs(t, m, "/sbin/init s", tt.said)
			if len(p.history) != len(clean.history) {
				t.Errorf("the root was changed %d times", len(p.history)-len(clean.history))
			}
		})
	}
}

// startsAsItIs fails the test unless the Pi starts the system without a restart,
// and says why.
func startsAsItIs(t *testing.T, m *machine, exec, why string) {
	t.Helper()
	if m.restarts != 0 || len(m.execs) != 1 || m.execs[0] != exec || !m.readOnly || len(m.mounts) != 0 {
		t.Errorf("%d restarts, execs %q, mounts %q, read-only %v", m.restarts, m.execs, m.mounts, m.readOnly)
	}
	if said := strings.Join(m.said, "\n"); !strings.Contains(said, why) {
		t.Errorf("the console shows %q, want %q", said, why)
	}
	if files := m.files(t); !strings.Contains(files[ErrorFile], why) || recipe.StartsBranding(files[CommandLine]) {
		t.Errorf("%s is %q, %s is %q", ErrorFile, files[ErrorFile], CommandLine, files[CommandLine])
	}
}

// A failure in the middle of a branding makes the Pi an unconfigured node, as far as that
// can be done.
func TestTroubles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause func(*testing.T, *machine)
		said  string
	}{
		{"two lines", func(t *testing.T, m *machine) {
			write(t, m.pi, CommandLine, "a\nb init="+node.ReconfigPath+" p7\n")
		}, "line 2 of it is"},
		{"a directory in the way", func(t *testing.T, m *machine) {
			must(m.root.Remove("etc/exports"))
			must(m.root.Mkdir("etc/exports", 0o755))
		}, "is a directory"},
		{"too many attempts", func(t *testing.T, m *machine) { must(m.root.WriteFile(attemptsFile, []byte("10\n"), 0o644)) }, "begun 10 times"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPi()
			p.ask(t, "p7")
			m := &machine{pi: p, readOnly: true}
			tt.cause(t, m)
			m.run("p7")
			unconfigured(t, m, tt.said)
		})
	}
}

// Where nothing can be changed, or a controller was asked for, the system starts as
// it is.
func TestHopeless(t *testing.T) {
	for _, tt := range []struct {
		name, role string
		cause      func(*testing.T, *machine)
		said       string
	}{
		{"no Raspberry Pi OS", "p7", func(t *testing.T, m *machine) { must(m.root.Remove("usr/lib/os-release")) }, "etc/os-release"},
		{"asked for elsewhere", "p7", func(t *testing.T, m *machine) { write(t, m.pi, CommandLine, "a b\n") }, "want it there"},
		{"no command line", "p7", func(t *testing.T, m *machine) { write(t, m.pi, CommandLine, "") }, "want one line of kernel arguments"},
		{"fallen back too often", "p7", func(t *testing.T, m *machine) { must(m.root.WriteFile(attemptsFile, []byte("11\n"), 0o644)) }, "begun 11 times"},
		{"controller", "cnat", func(t *testing.T, m *machine) {
			must(m.root.Remove("etc/exports"))
			must(m.root.Mkdir("etc/exports", 0o755))
		}, "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPi()
			p.ask(t, tt.role)
			m := &machine{pi: p, readOnly: true}
			tt.cause(t, m)
			m.run(tt.role)
			startsAsItIs(t, m, "/sbin/init", tt.said)
		})
	}
}

// Without a boot partition the root alone can be changed, which is enough not to be
// a second controller; the next boot tries again.
func TestNoBootPartition(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause func(*testing.T, *machine)
		said  string
	}{
		{"none", func(t *testing.T, m *machine) { m.noBoot = true }, "no partition with PARTUUID=5a3d1c0e-01"},
		{"another system beside the root", func(t *testing.T, m *machine) {
			m.noBoot, m.beside = true, []string{"/dev/mmcblk0p1"}
			write(t, m.pi, CommandLine, "root=/dev/mmcblk0p2 rw\n")
		}, "no partition with PARTUUID=5a3d1c0e-01"},
		{"no FAT", func(t *testing.T, m *machine) {
			_, err := m.WriteAt(make([]byte, mbr.SectorSize), 0)
			must(err)
		}, "want a FAT file system"},
		{"no fstab", func(t *testing.T, m *machine) { must(m.root.Remove("etc/fstab")) }, "etc/fstab"},
		{"a card that forgets", func(t *testing.T, m *machine) { m.Worn = true }, "the card does not keep what is written to it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPi()
			p.ask(t, "p7")
			m := &machine{pi: p, readOnly: true}
			tt.cause(t, m)
			m.run("p7")
			if m.restarts != 0 || len(m.execs) != 1 || m.execs[0] != "/sbin/init" || !m.readOnly || len(m.mounts) != 0 {
				t.Errorf("%d restarts, execs %q, mounts %q, read-only %v", m.restarts, m.execs, m.mounts, m.readOnly)
			}
			if said := strings.Join(m.said, "\n"); !strings.Contains(said, tt.said) {
				t.Errorf("the console shows %q, want %q", said, tt.said)
			}
			if name, err := fs.ReadFile(p.root, "etc/hostname"); err != nil || string(name) != "p253\n" {
				t.Errorf("the name is %q, %v; want p253", name, err)
			}
			if _, err := p.root.Lstat("boot/firmware/config.txt"); err == nil {
				t.Error("the root has files where the boot partition would be mounted")
			}
		})
	}
}

// A boot partition that fstab does not lead to is found beside the root, by the
// command line that started the branding.
func TestBootPartitionBesideRoot(t *testing.T) {
	for _, tt := range []struct {
		name, fstab string
		said        string
	}{
		{"under another id", "", "no partition with PARTUUID=5a3d1c0e-01"},
		{"in no entry of fstab", "#PARTUUID=5a3d1c0e-01 /boot/firmware vfat defaults 0 2\n", "etc/fstab mounts no vfat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPi()
			if tt.fstab != "" {
				must(p.root.WriteFile("etc/fstab", []byte(tt.fstab), 0o644))
			}
			p.ask(t, "p7")
			m := &machine{pi: p, readOnly: true, noBoot: true, beside: []string{"/dev/mmcblk0p1"}}
			m.run("p7")
			said := strings.Join(m.said, "\n")
			if m.restarts != 1 || !strings.Contains(said, tt.said) || !strings.Contains(said, "the boot partition is /dev/mmcblk0p1") {
				t.Errorf("%d restarts, execs %q, said %q; want it branded, and %q said", m.restarts, m.execs, said, tt.said)
			}
			if name, err := fs.ReadFile(p.root, "etc/hostname"); err != nil || string(name) != "p7\n" {
				t.Errorf("the name is %q, %v", name, err)
			}
			if files := p.files(t); recipe.StartsBranding(files[CommandLine]) || !strings.Contains(files["config.txt"], "dr_mode=peripheral") {
				t.Errorf("%s is %q, config.txt is %q", CommandLine, files[CommandLine], files["config.txt"])
			}
		})
	}
}

// Windows' editor ends lines with CRLF and begins a file with a byte order mark. A user
// may note the old line behind the new one.
func TestForeignCommandLine(t *testing.T) {
	for _, tt := range []struct{ before, after string }{
		{"\ufeffa init=" + node.ReconfigPath + " p7\r\n", "a"},
		{"a init=" + node.ReconfigPath + " p7\n# was: b\n", "a"},
	} {
		p := newPi()
		write(t, p, CommandLine, tt.before)
		m := p.start("p7")
		if got := strings.TrimSpace(p.files(t)[CommandLine]); m.restarts != 1 || got != tt.after {
			t.Errorf("%q: %d restarts, %q, it said %q; want %q", tt.before, m.restarts, got, m.said, tt.after)
		}
	}
}

// Whatever is wrong with the command line, the vendor's first boot comes back.
func TestVendorComesBack(t *testing.T) {
	for _, line := range []string{
		"a clusterctrl.vendor init=" + node.ReconfigPath + " p7\nquiet\n",
		"a clusterctrl.vendor init=" + node.ReconfigPath + " p7 b=\"c\n",
		"a\r clusterctrl.vendor init=" + node.ReconfigPath + " p7\n",
		"a clusterctrl.vendor init=" + node.ReconfigPath + " p253\n",
	} {
		p := newPi()
		write(t, p, CommandLine, line)
		m := p.start("p7")
		got := p.files(t)[CommandLine]
		if recipe.StartsBranding(got) || !strings.Contains(got, " init=/usr/lib/raspberrypi-sys-mods/firstboot") || strings.Contains(got, "clusterctrl.vendor") {
			t.Errorf("%q becomes %q, it said %q", line, got, m.said)
		}
	}
}

// A branding that crashes the kernel is tried a limited number of times.
func TestAttempts(t *testing.T) {
	p, random := newPi(), rand.New(rand.NewSource(1))
	p.ask(t, "p7")
	for n := 1; n <= maxAttempts; n++ {
		p.faults = faults{at: 15, until: 1 << 30, err: errors.New("crash")}
		if m := p.start("p7"); m.faults.done < 15 {
			t.Fatalf("attempt %d: %q", n, m.said)
		}
		p.cut(random)
	}
	unconfigured(t, p.start("p7"), "begun 10 times")
	p.ask(t, "p7")
	if m := p.start("p7"); m.restarts != 1 {
		t.Errorf("asked again it says %q, want a fresh start", m.said)
	}
}

// A panic is a failure as any other.
func TestPanic(t *testing.T) {
	for at := 1; at < 60; at++ {
		p := newPi()
		p.ask(t, "p7")
		p.faults = faults{at: at, until: at, bug: true}
		m := p.start("p7")
		if n := m.restarts + len(m.execs); n != 1 {
			t.Errorf("a panic in %q: %d restarts, execs %q", p.log[at-1], m.restarts, m.execs)
		}
		if m.restarts == 1 && recipe.StartsBranding(p.files(t)[CommandLine]) {
			t.Errorf("a panic in %q: it starts over for ever", p.log[at-1])
		}
	}
}

func FuzzArguments(f *testing.F) {
	for _, argument := range []string{"p7", "p252", "cbridge", "p253", "", "p7 ", "p\x00", "c", "systemd.run=x", "p7\n", "-", "--help"} {
		f.Add(argument, "s")
	}
	f.Fuzz(func(t *testing.T, argument, more string) {
		p := newPi()
		p.ask(t, "p7")
		m := p.start(argument, more)
		role, err := node.ParseRole(argument)
		if err != nil {
			role = node.Unconfigured.Role()
		}
		if m.restarts != 1 || len(m.execs) != 0 {
			t.Errorf("%q: %d restarts, execs %q", argument, m.restarts, m.execs)
		}
		if recipe.StartsBranding(p.files(t)[CommandLine]) {
			t.Errorf("%q: %s still asks for it", argument, CommandLine)
		}
		name, _ := p.root.Stat("etc/hostname")
		if name.Size() != int64(len(role.String())+1) {
			t.Errorf("%q: the name is %d bytes long", argument, name.Size())
		}
	})
}

// A command line that is longer than a sector is replaced.
func TestLongCommandLine(t *testing.T) {
	p := newPi()
	others := strings.TrimSpace(strings.Repeat("word ", 120))
	write(t, p, CommandLine, others+" init="+node.ReconfigPath+" p7\n")
	if m := p.start("p7"); m.restarts != 1 || p.files(t)[CommandLine] != others+"\n" {
		t.Errorf("it said %q, %s is %q", m.said, CommandLine, p.files(t)[CommandLine])
	}
}
