package firstboot

import (
	"errors"
	"io/fs"
	"math/rand"
	"strings"
	"testing"

	"clusterctrl/internal/node"
)

// What cannot be done is said, and the system started as it is, without a word
// of ours and with all of the others.
func TestRefuse(t *testing.T) {
	const ordinary = "console=serial0,115200 console=tty1 root=PARTUUID=5a3d1c0e-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot"
	for _, tt := range []struct{ asked, argv, want, exec, said string }{
		{"p0", "p0", ordinary, "/sbin/init", `role "p0": want cbridge, cnat, or p1 to p252`},
		{"p253", "p253", ordinary, "/sbin/init", `"p253"`},
		{"p08", "p08", ordinary, "/sbin/init", `"p08"`},
		{"p010", "p010", ordinary, "/sbin/init", `"p010"`},
		{"P7", "P7", ordinary, "/sbin/init", `"P7"`},
		{"p7x", "p7x", ordinary, "/sbin/init", `"p7x"`},
		{"cnat2", "cnat2 s", ordinary, "/sbin/init s", `"cnat2"`},
		{"", "", ordinary, "/sbin/init", "no role"},
		{"splash", "splash s", ordinary + " splash", "/sbin/init splash s", `"splash"`},
		{"p7x systemd.run=/a", "p7x systemd.run=/a", ordinary + " systemd.run=/a", "/sbin/init systemd.run=/a", `"p7x"`},
	} {
		t.Run(tt.asked, func(t *testing.T) {
			p := newPi()
			p.ask(t, tt.asked)
			clean := p.clone()
			m := p.start(strings.Fields(tt.argv)...)
			files := p.files(t)
			if m.restarts != 0 || len(m.execs) != 1 || m.execs[0] != tt.exec || !m.readOnly || len(m.mounts) != 0 {
				t.Errorf("%d restarts, execs %q, mounts %q", m.restarts, m.execs, m.mounts)
			}
			if got := squeezed(strings.TrimSuffix(files[CommandLine], "\n")); got != tt.want {
				t.Errorf("%s is %q, want %q", CommandLine, got, tt.want)
			}
			if !strings.Contains(files[ErrorFile], tt.said) || !strings.Contains(strings.Join(m.said, "\n"), tt.said) {
				t.Errorf("%s is %q, the console shows %q; want %q", ErrorFile, files[ErrorFile], m.said, tt.said)
			}
			if len(p.history) != len(clean.history) {
				t.Errorf("the root was changed %d times", len(p.history))
			}
		})
	}
}

func TestTroubles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause func(*testing.T, *machine)
		said  string
	}{
		{"no boot partition", func(t *testing.T, m *machine) { m.noBoot = true }, "no partition with PARTUUID=5a3d1c0e-01"},
		{"another system beside the root", func(t *testing.T, m *machine) {
			m.noBoot, m.beside = true, []string{"/dev/mmcblk0p1"}
			write(t, m.pi, CommandLine, "root=/dev/mmcblk0p2 rw\n")
		}, "no partition with PARTUUID=5a3d1c0e-01"},
		{"a card that forgets", func(t *testing.T, m *machine) { m.worn = true }, "the card does not keep what is written to it"},
		{"no FAT", func(t *testing.T, m *machine) { m.sectors[0] = make([]byte, sectorSize) }, "want a FAT file system"},
		{"no fstab", func(t *testing.T, m *machine) { must(m.root.Remove("etc/fstab")) }, "etc/fstab"},
		{"no Raspberry Pi OS", func(t *testing.T, m *machine) { must(m.root.Remove("usr/lib/os-release")) }, "etc/os-release"},
		{"no command line", func(t *testing.T, m *machine) { write(t, m.pi, CommandLine, "") }, "want one line of kernel arguments"},
		{"two lines", func(t *testing.T, m *machine) {
			write(t, m.pi, CommandLine, "a\nb init="+node.ReconfigPath+" p7\n")
		}, "it has 2 lines: want one"},
		{"carriage return", func(t *testing.T, m *machine) {
			write(t, m.pi, CommandLine, "a init="+node.ReconfigPath+" p7\r\n")
		}, "carriage returns"},
		{"asked for elsewhere", func(t *testing.T, m *machine) { write(t, m.pi, CommandLine, "a b\n") }, "want it there"},
		{"half a block", func(t *testing.T, m *machine) { write(t, m.pi, "config.txt", "# START ClusterCTRL config\n") }, "no line"},
		{"a file in the way", func(t *testing.T, m *machine) {
			must(m.root.Remove("etc/systemd/system/multi-user.target.wants/clusterctrl-init.service"))
			must(m.root.Mkdir("etc/hostname.d", 0o755))
			must(m.root.Remove("etc/hostname"))
			must(m.root.Mkdir("etc/hostname", 0o755))
		}, "is a directory"},
		{"too many attempts", func(t *testing.T, m *machine) { must(m.root.WriteFile(attemptsFile, []byte("10\n"), 0o644)) }, "begun 10 times"},
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
			if tt.name == "no boot partition" || tt.name == "another system beside the root" || tt.name == "a card that forgets" || tt.name == "no FAT" || tt.name == "no fstab" {
				return
			}
			files := p.files(t)
			if !strings.Contains(files[ErrorFile], tt.said) || asksForBranding(files[CommandLine]) {
				t.Errorf("%s is %q, %s is %q", ErrorFile, files[ErrorFile], CommandLine, files[CommandLine])
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
			if files := p.files(t); asksForBranding(files[CommandLine]) || !strings.Contains(files["config.txt"], "dr_mode=peripheral") {
				t.Errorf("%s is %q, config.txt is %q", CommandLine, files[CommandLine], files["config.txt"])
			}
		})
	}
}

// What crashes the kernel is tried so many times and no more.
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
	if m := p.start("p7"); m.restarts != 0 || !strings.Contains(p.files(t)[ErrorFile], "begun 10 times") {
		t.Errorf("after %d attempts it says %q, want it to give up", maxAttempts, m.said)
	}
	p.ask(t, "p7")
	if m := p.start("p7"); m.restarts != 1 {
		t.Errorf("asked again it says %q, want a fresh start", m.said)
	}
}

// A bug of ours is a failure as any other.
func TestPanic(t *testing.T) {
	for at := 1; at < 60; at++ {
		p := newPi()
		p.ask(t, "p7")
		p.faults = faults{at: at, until: at, bug: true}
		m := p.start("p7")
		if n := m.restarts + len(m.execs); n != 1 {
			t.Errorf("a panic in %q: %d restarts, execs %q", p.log[at-1], m.restarts, m.execs)
		}
		if m.restarts == 1 && asksForBranding(p.files(t)[CommandLine]) {
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
		if (m.restarts == 1) != (err == nil) || m.restarts+len(m.execs) != 1 {
			t.Errorf("%q: %d restarts, execs %q", argument, m.restarts, m.execs)
		}
		if asksForBranding(p.files(t)[CommandLine]) {
			t.Errorf("%q: %s still asks for it", argument, CommandLine)
		}
		name, _ := p.root.Stat("etc/hostname")
		if err == nil && name.Size() != int64(len(role.String())+1) {
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
