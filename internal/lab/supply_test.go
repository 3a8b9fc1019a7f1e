package lab_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
)

// A rig is a virtual cluster whose machines have one program alone, the switcher.
type rig struct {
	*lab.Rig
	socket string
	said   chan string
}

// newRig starts a cluster of a controller and nodes, all with cards.
func newRig(t *testing.T, on bool, nodes ...string) rig {
	t.Helper()
	var members []lab.MemberConfig
	for _, name := range nodes {
		members = append(members, lab.MemberConfig{Name: name})
	}
	return startRig(t, on, nil, members...)
}

// startRig starts a cluster of a controller and nodes. Cards have further files, with
// where these come from.
func startRig(t *testing.T, on bool, more map[string]string, nodes ...lab.MemberConfig) rig {
	t.Helper()
	files := labtest.NewKernel(t, labtest.ARM64)
	kernel := lab.Kernel{Name: "Debian's", Release: filepath.Base(files.Modules), Image: read(t, files.Image), Modules: os.DirFS(files.Modules)}
	root := t.TempDir()
	for _, dir := range []string{"sbin", "run", "proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	switcher := labtest.Program(t, labtest.ARM64, "labtest/switcher")
	if err := os.Link(switcher, filepath.Join(root, "sbin/init")); err != nil {
		t.Fatal(err)
	}
	for name, from := range more {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(read(t, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	line := filepath.Join(t.TempDir(), "cmdline.txt")
	if err := os.WriteFile(line, []byte("root=/dev/mmcblk0p2 quiet\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := labtest.Card{Boot: map[string]string{"cmdline.txt": line}, Root: root}.Image(t)
	members := []lab.MemberConfig{{Name: "cnat", Image: image, Controller: true, Memory: 256}}
	for _, m := range nodes {
		if m.Memory = 256; !m.Bare {
			m.Image = image
		}
		members = append(members, m)
	}
	dir, err := os.MkdirTemp("", "rig") // the paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := rig{socket: filepath.Join(dir, "socket"), said: make(chan string, 1000)}
	r.Rig, err = lab.NewRig(t.Context(), lab.RigConfig{
		Members: members, Dir: dir, Kernel: kernel, On: on,
		Init: read(t, labtest.Program(t, labtest.ARM64, "../../cmd/clusterctrl")),
		Say:  func(line string) { r.said <- line },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Listen(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, r.Close()); err != nil {
			t.Error(err)
		}
	})
	r.Start()
	return r
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// hears waits until all of these were said, in any order.
func (r rig) hears(t *testing.T, lines ...string) {
	t.Helper()
	wanted := map[string]bool{}
	for _, line := range lines {
		wanted[line] = true
	}
	for len(wanted) > 0 {
		line := <-r.said
		if !wanted[line] {
			t.Fatalf("the lab says %q, want one of %q", line, lines)
		}
		delete(wanted, line)
	}
}

// is checks how machines are: "cnat on, p1 off in".
func (r rig) is(t *testing.T, want string) {
	t.Helper()
	answer, _, err := lab.Ask(r.socket, lab.Request{Do: lab.AskStatus})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, m := range answer.Machines {
		state := m.Name + map[bool]string{true: " on", false: " off"}[m.On]
		if m.Cable != "" {
			state += " " + m.Cable
		}
		states = append(states, state)
	}
	if got := strings.Join(states, ", "); got != want {
		t.Errorf("machines: %s; want %s", got, want)
	}
}

func (r rig) ask(t *testing.T, do, machine string) {
	t.Helper()
	if _, _, err := lab.Ask(r.socket, lab.Request{Do: do, Machine: machine}); err != nil {
		t.Error(err)
	}
}

// console opens the console of a machine, and waits until the machine's program has
// started for so many times since the machine was built.
func (r rig) console(t *testing.T, name string, times int) *lab.Console {
	t.Helper()
	_, conn, err := lab.Ask(r.socket, lab.Request{Do: lab.AskConsole, Machine: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	transcript, err := os.Create(filepath.Join(t.ArtifactDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { transcript.Close() })
	c := lab.NewConsole(conn, conn, transcript)
	for range times {
		if _, err := c.Expect(t.Context(), "switcher: on"); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// do has the switcher do something, and wants an answer.
func do(t *testing.T, c *lab.Console, what, want string) {
	t.Helper()
	if err := c.Send(what); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, c, what); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func answer(t *testing.T, c *lab.Console, what string) string {
	t.Helper()
	groups, err := c.ExpectLine(t.Context(), regexp.MustCompile("switcher: "+regexp.QuoteMeta(what)+": (.*)[.]$"))
	if err != nil {
		t.Fatal(err)
	}
	return groups[1]
}

// TestHAT has a controller write to the expander of its ClusterHAT.
func TestHAT(t *testing.T) {
	r := newRig(t, false, "p1", "p3")
	r.hears(t, "cnat: on")
	c := r.console(t, "cnat", 1)
	r.is(t, "cnat on, p1 off in, p3 off in")
	do(t, c, "cat /proc/device-tree/hat/product", "ZC4:ClusterHAT")
	do(t, c, "cat /proc/device-tree/hat/product_ver", "0x0024")
	do(t, c, "i2c-1 03", "ff")
	do(t, c, "i2c-1 00", "f0")
	do(t, c, "i2c-1 01 10", "done")
	do(t, c, "i2c-1 03 00", "done")
	do(t, c, "i2c-1 01 15", "done") // p1 and p3
	r.hears(t, "p1: on", "p3: on")
	r.console(t, "p1", 1)
	r.is(t, "cnat on, p1 on in, p3 on in")
	do(t, c, "i2c-1 01 14", "done")
	r.hears(t, "p1: power cut")
	r.is(t, "cnat on, p1 off in, p3 on in")
	p3 := r.console(t, "p3", 1)
	if err := p3.Send("off"); err != nil { // then it has power, but is off
		t.Fatal(err)
	}
	r.hears(t, "p3: powered off")
	do(t, c, "i2c-1 01 10", "done")
	do(t, c, "i2c-1 01 14", "done")
	r.hears(t, "p3: on")
	r.ask(t, lab.AskCut, "cnat") // and with it the HAT
	r.hears(t, "cnat: power cut", "p3: power cut")
	r.is(t, "cnat off, p1 off in, p3 off in")
	r.ask(t, lab.AskOn, "cnat")
	r.hears(t, "cnat: on")
	c = r.console(t, "cnat", 2)
	do(t, c, "i2c-1 03", "ff")
	r.is(t, "cnat on, p1 off in, p3 off in")
}

// moreMachines says of a test that it boots further machines, which "make test-machines" does.
func moreMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("boots more machines: make test-machines")
	}
}

// TestCTRL has a controller write to its ClusterCTRL boards, of which p33 needs two.
func TestCTRL(t *testing.T) {
	moreMachines(t)
	r := newRig(t, false, "p2", "p33")
	r.hears(t, "cnat: on")
	c := r.console(t, "cnat", 1)
	do(t, c, "bind 3171 0011", "done")
	first, second := "i2c-0", "i2c-1"
	do(t, c, first+" 01", "20")
	do(t, c, second+" 01", "20")
	if err := c.Send(first + " 02"); err != nil {
		t.Fatal(err)
	}
	if order := answer(t, c, first+" 02"); order == "02" {
		first, second = second, first
	}
	for _, step := range []struct {
		board, write string
		wanted       []string
	}{
		{first, "0c 02", nil}, {first, "0d 03", []string{"p2: on"}},
		{second, "0c 01", nil}, {second, "0d 03", []string{"p33: on"}},
		{second, "0d 04", nil}, {second, "0d 03", []string{"p33: power cut", "p33: on"}}, // before it is off
		{second, "0d 04", []string{"p33: power cut"}},
		{second, "0d 03", []string{"p33: on"}},
	} {
		do(t, c, step.board+" "+step.write, "done")
		r.hears(t, step.wanted...)
	}
	do(t, c, first+" 0c 03", "done") // nobody is there
	do(t, c, first+" 0d 03", "done")
	do(t, c, first+" 0e", "00")
	r.is(t, "cnat on, p2 on in, p33 on in")
}

// TestOn has nodes on from the start: their boards say so too.
func TestOn(t *testing.T) {
	moreMachines(t)
	for node, read := range map[string][2]string{"p1": {"i2c-1 00", "ff"}, "p5": {"i2c-0 0c", "01"}} {
		r := newRig(t, true, node)
		r.hears(t, "cnat: on", node+": on")
		c := r.console(t, "cnat", 1)
		if node == "p5" {
			do(t, c, "bind 3171 0011", "done")
			do(t, c, "i2c-0 0c 05", "done")
			do(t, c, "i2c-0 0d 0f", "done")
		}
		do(t, c, read[0], read[1])
	}
}

func TestHATIsTooSmall(t *testing.T) {
	_, err := lab.NewRig(t.Context(), lab.RigConfig{Supply: lab.HAT, Members: []lab.MemberConfig{{Name: "cnat", Controller: true}, {Name: "p5"}}})
	if want := "p5 on a ClusterHAT, which has p1 to p4: want board ctrl"; err == nil || err.Error() != want {
		t.Errorf("NewRig() = %v, want %q", err, want)
	}
}
