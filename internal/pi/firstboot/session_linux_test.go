package firstboot

import (
	"fmt"
	"math/rand"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/tree/edit"

	"clusterctrl/internal/tree/recipe"
)

// finished is a Pi that became what it was to be without disturbance.
func finished(t testing.TB, role string) *pi {
	t.Helper()
	p := newPi()
	p.ask(t, role)
	m := p.start(role)
	if m.restarts != 1 || len(m.execs) != 0 || len(m.history) != m.sure || !m.Sure() || !m.readOnly {
		t.Fatalf("%d restarts, execs %q, said %q; want one restart of a clean system", m.restarts, m.execs, m.said)
	}
	return p
}

func TestBecome(t *testing.T) {
	for _, role := range []string{"p1", "p7", "p252", "cbridge", "cnat"} {
		p := finished(t, role)
		files := p.files(t)
		hostname, _ := p.root.Open("etc/hostname")
		name := make([]byte, 64)
		n, _ := hostname.Read(name)
		if got := strings.TrimSpace(string(name[:n])); got != role {
			t.Errorf("%s: the host is called %q", role, got)
		}
		const want = "console=serial0,115200 console=tty1 root=PARTUUID=5a3d1c0e-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot"
		if got := strings.TrimRight(files[CommandLine], " \n"); got != want {
			t.Errorf("%s: %s is %q, want %q", role, CommandLine, got, want)
		}
		if !strings.Contains(files[Backup], " init=/usr/sbin/reconfig-clusterctrl "+role) {
			t.Errorf("%s: %s is %q, want the command line that started it", role, Backup, files[Backup])
		}
		if _, err := p.root.Stat(attemptsFile); err == nil {
			t.Errorf("%s: %s is left", role, attemptsFile)
		}
		if text := files["config.txt"]; strings.Contains(text, "dr_mode=peripheral") != (role[0] == 'p') {
			t.Errorf("%s: config.txt is %q", role, text)
		}
	}
}

// The order of operations: no change of the root before it is writable, and the one
// sector of cmdline.txt when all else is sure.
func TestOrder(t *testing.T) {
	p := finished(t, "p7")
	log := strings.Join(p.log, "\n")
	before := "kernel: sync\nboot partition: write sector 1295\nboot partition: flush\nkernel: remount / writable=false\nkernel: restart"
	if !strings.HasSuffix(log, before) {
		t.Errorf("it ended with\n%s\nwant\n%s", strings.Join(p.log[max(0, len(p.log)-8):], "\n"), before)
	}
	if n := strings.Count(log, "sector 1295"); n != 1 {
		t.Errorf("the sector of %s was written %d times, want 1", CommandLine, n)
	}
}

// check says what makes a card one that the firmware and the kernel can start.
func check(t *testing.T, p *pi, asked, done map[string]string) {
	t.Helper()
	files := p.files(t)
	if _, err := edit.ParseCommandLine(files[CommandLine]); err != nil {
		t.Errorf("%s: %v", CommandLine, err)
	}
	if got := files["config.txt"]; got != asked["config.txt"] && got != done["config.txt"] {
		t.Errorf("config.txt is %q, neither what it was nor what it is to be", got)
	}
	for name, text := range asked {
		if got := files[name]; got != text && got != done[name] && name != CommandLine && name != Backup {
			t.Errorf("%s is %q, was %q", name, got, text)
		}
	}
}

// transitions are roles that a Pi had and is to have.
var transitions = []struct{ from, to string }{{"", "p7"}, {"", "cnat"}, {"p7", "p9"}, {"p7", "cbridge"}, {"cnat", "p252"}}

// before returns a Pi that is to change its role.
func before(t testing.TB, from, to string) *pi {
	p := newPi()
	if from != "" {
		p = finished(t, from)
	}
	p.ask(t, to)
	return p
}

func TestCuts(t *testing.T) {
	cuts := 0
	const noRole = "p300" // which makes an unconfigured node
	for _, tt := range append([]struct{ from, to string }{{"", noRole}}, transitions...) {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			start := before(t, tt.from, tt.to)
			whole, asked := start.clone(), start.files(t)
			whole.start(tt.to)
			want, done, steps := whole.state(t), whole.files(t), len(whole.log)
			for at := 1; at <= steps; at++ {
				for seed := range int64(*subsets) {
					random := rand.New(rand.NewSource(seed))
					p := start.clone()
					p.faults = faults{at: at, until: 1 << 30, err: syscall.EIO}
					p.start(tt.to)
					p.cut(random)
					check(t, p, asked, done)
					cuts++
					if recipe.StartsBranding(p.files(t)[CommandLine]) {
						p.start(tt.to)
					}
					if got := p.state(t); got != want {
						t.Fatalf("cut %d (%s), subset %d: %s", at, whole.log[at-1], seed, differences(got, want))
					}
				}
			}
		})
	}
	t.Logf("%d cuts tried, all converged", cuts)
}

// Any number of cuts, up to the last attempt.
func TestCutsInARow(t *testing.T) {
	want, start := finished(t, "p7").state(t), before(t, "", "p7")
	for seed := range int64(50 * *subsets) {
		random := rand.New(rand.NewSource(seed))
		p := start.clone()
		for range maxAttempts - 1 {
			p.faults = faults{at: 1 + random.Intn(70), until: 1 << 30, err: syscall.EIO}
			m := p.start("p7")
			cutShort := m.faults.done >= m.faults.at
			p.cut(random)
			if !cutShort || !recipe.StartsBranding(p.files(t)[CommandLine]) {
				break
			}
		}
		if recipe.StartsBranding(p.files(t)[CommandLine]) {
			p.start("p7")
		}
		if got := p.state(t); got != want {
			t.Fatalf("seed %d: %s", seed, differences(got, want))
		}
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range transitions {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			start := before(t, tt.from, tt.to)
			whole, asked := start.clone(), start.files(t)
			whole.start(tt.to)
			want, done, steps := whole.state(t), whole.files(t), len(whole.log)
			for at := 1; at <= steps; at++ {
				kinds := []faults{
					{at: at, until: at, err: syscall.EIO},
					{at: at, until: 1 << 30, err: syscall.EROFS},
					{at: at, until: at + 3, err: syscall.ENOSPC},
				}
				for i, f := range kinds {
					if *subsets == 1 && i != at%len(kinds) {
						continue
					}
					p := start.clone()
					p.faults = f
					m := p.start(tt.to, "systemd.run=x")
					what := fmt.Sprintf("fault %d-%d (%s)", f.at, f.until, whole.log[at-1])
					check(t, p, asked, done)
					if m.restarts+len(m.execs) != 1 || m.restarts == 1 && recipe.StartsBranding(p.files(t)[CommandLine]) {
						t.Fatalf("%s: %d restarts, execs %q, %s %q", what, m.restarts, m.execs, CommandLine, p.files(t)[CommandLine])
					}
					if len(m.execs) == 1 && m.execs[0] != "/sbin/init systemd.run=x" {
						t.Errorf("%s: it started %q", what, m.execs[0])
					}
					if len(m.execs) == 1 && f.until == at && len(m.mounts) > 0 {
						t.Errorf("%s: it left %q mounted", what, m.mounts)
					}
					p.faults = faults{}
					if m.restarts == 1 && p.files(t)[ErrorFile] == "" {
						if got := p.state(t); got != want {
							t.Fatalf("%s: %s", what, differences(got, want))
						}
						continue
					}
					if m.restarts == 1 {
						unconfigured(t, m, "fault in")
					}
					again(t, p, tt.to, asked)
					if got := p.state(t); got != want {
						t.Fatalf("%s, then again: %s", what, differences(got, want))
					}
				}
			}
		})
	}
}

// again puts the command line that the user wrote back and starts over.
func again(t *testing.T, p *pi, role string, asked map[string]string) {
	t.Helper()
	boot, err := fat.OpenVolume(p, p.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := boot.OverwriteLine(CommandLine, asked[CommandLine]); err != nil {
		t.Fatal(err)
	}
	if m := p.start(role); m.restarts != 1 {
		t.Fatalf("it did not finish without faults: %q", m.said)
	}
}

// differences are the lines in which two states differ.
func differences(got, want string) string {
	var b strings.Builder
	had := map[string]bool{}
	for line := range strings.Lines(want) {
		had[line] = true
	}
	for line := range strings.Lines(got) {
		if !had[line] {
			fmt.Fprintf(&b, "\ngot  %s", line)
		}
		delete(had, line)
	}
	for line := range had {
		fmt.Fprintf(&b, "\nwant %s", line)
	}
	return b.String()
}
