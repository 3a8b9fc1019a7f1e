package power_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/node"
)

// watched: a node that is switched, plugged in and unplugged is a line each.
func watched(t *testing.T) {
	d := newDesk(t)
	asked := make(chan struct{}, 1)
	d.tripleBus.Answer = func(m board.Message) bool {
		if slices.Equal(m.Data, []byte{0x0d, 0x0f}) { // the command that reads the power of a board's node
			select {
			case asked <- struct{}{}:
			default:
			}
		}
		return true
	}
	watch := exec.Command(node.Program, "status", "--watch", "--json")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() (event, id, state string) {
		t.Helper()
		var e struct {
			Event string
			Node  struct{ Node, Power string }
		}
		if !lines.Scan() {
			t.Fatalf("the end of the watch, %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		return e.Event, e.Node.Node, e.Node.Power
	}
	want := func(event, id, state string) {
		t.Helper()
		if e, n, s := next(); e != event || n != id || s != state {
			t.Errorf("%s; want %s of %s, which is %q", lines.Text(), event, id, state)
		}
	}
	<-asked
	d.hat.Write([]byte{0x01, 0x92}) // by another program
	want("on", "p2", "silent")
	zero, port := plugInNode(t, "2")
	want("plugged", "p2", "")
	zero.Pull()
	if err := zero.Wait(); err != nil {
		t.Error(err)
	}
	ports[port] = false
	want("unplugged", "p2", "")
	d.hat.Write([]byte{0x01, 0x90})
	want("off", "p2", "off")
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("after Ctrl-C, by which a watch ends: %v", err)
	}
}

// A zero is a node as far as USB's descriptors go.
type zero struct {
	board.Bus
	number string
}

func (z *zero) Descriptors() usb.Descriptors {
	return usb.Descriptors{
		Speed: usbip.HighSpeed,
		Device: usb.DeviceDescriptor{USB: 0x0200, MaxPacket: 64, Vendor: 0x3171, Product: 0x0020, Release: 0x0100,
			ProductString: 1, SerialString: 2, Configurations: 1},
		Configuration: usb.Configuration(usb.Interface{Class: 0xff}),
		Strings:       map[uint8]string{1: "ClusterCTRL", 2: z.number},
	}
}

// plugInNode plugs in what says that it is the node of a number.
func plugInNode(t *testing.T, number string) (plug *usb.Plug, port int) {
	t.Helper()
	port = slices.Index(ports, false)
	ports[port] = true
	plug, err := usb.PlugIn(t.Context(), usbip.Port(port), &zero{number: number})
	if err != nil {
		t.Fatal(err)
	}
	return plug, port
}

// interrupted: Ctrl-C between two nodes leaves the second as it was, and what is said
// is true.
func interrupted(t *testing.T) {
	d := newDesk(t)
	settle(t, "CLUSTERHAT_FORCE=2.4\nLINK=0\nCLUSTERCTRL_DELAY=3600\n")
	for _, tt := range []struct {
		signal syscall.Signal
		words  string
		on     string
	}{
		{syscall.SIGINT, "on p3 p1 p5", "p3"},
		{syscall.SIGTERM, "on p3 p1 p5", "p3 p1"}, // p3 is skipped
	} {
		noted := listenToJournal(t)
		cmd := exec.Command(node.Program, strings.Fields(tt.words)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range strings.Fields(tt.on) {
			noted.next(t) // the pause comes next
		}
		if err := cmd.Process.Signal(tt.signal); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		want := "clusterctrl: stopped; on: " + tt.on + "\nclusterctrl: interrupted\n"
		if stderr.String() != want || cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("%v in %s: %v\n%swant exit status 130 and\n%s", tt.signal, tt.words, err, &stderr, want)
		}
		noted.close(t)
	}
	if s := d.hat.State(); !s.Power[3] || !s.Power[1] || d.triple.State().Power[1] {
		t.Errorf("on are %v and %v", s, d.triple.State().Nodes())
	}
}

// A socket is that of the journal, as systemd has it.
type socket struct{ *net.UnixConn }

const journalSocket = "/run/systemd/journal/socket"

func listenToJournal(t *testing.T) socket {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(journalSocket), 0o755); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	return socket{conn}
}

func (s socket) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.UnixConn.Close(), os.Remove(journalSocket)); err != nil {
		t.Fatal(err)
	}
}

// next returns the next note's fields (systemd's "Journal Native Protocol": a line
// each where there are no line feeds in the value).
func (s socket) next(t *testing.T) map[string]string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := s.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(buf[:n])) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		fields[key] = value
	}
	return fields
}

// noted: each switch of a node is in the journal, with who, which node, what, and the
// outcome.
func noted(t *testing.T) {
	d := newDesk(t)
	journal := listenToJournal(t)
	defer journal.close(t)
	if err := os.WriteFile("/etc/passwd", []byte("root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	heard := 0
	d.tripleBus.Answer = func(board.Message) bool { heard++; return heard <= 10 } // what the board is, and no more
	const hat, triple = "ClusterHAT v2.4 (i2c-1, address 0x20)", "ClusterCTRL Triple of order 20 (i2c-3, address 0x20)"
	for _, tt := range []struct {
		sudo  string // who calls sudo
		words string
		notes []map[string]string
	}{
		{"", "on p1", []map[string]string{note("root", "p1", "on", hat, "6", "done")}},
		{"anna", "on p1 p2", []map[string]string{note("anna", "p1", "on", hat, "6", "it was on already"), note("anna", "p2", "on", hat, "6", "done")}},
		{"anna", "off p2 p5", []map[string]string{note("anna", "p2", "off", hat, "6", "done"),
			note("anna", "p5", "off", triple, "3", "p5: "+triple+": read register 0x0d: no acknowledgement")}},
	} {
		heard = 0
		cmd := exec.Command(node.Program, strings.Fields(tt.words)...)
		if cmd.Env = os.Environ(); tt.sudo != "" {
			cmd.Env = append(cmd.Env, "SUDO_USER="+tt.sudo)
		}
		cmd.Stderr = io.Discard
		cmd.Run()
		for _, want := range tt.notes {
			if got := journal.next(t); !maps.Equal(got, want) {
				t.Errorf("%s: noted\n%v\nwant\n%v", tt.words, got, want)
			}
		}
	}
	run("on p1 --dry-run") // no note
	anyone := exec.Command(node.Program, "off", "p1")
	anyone.Env = append(os.Environ(), "SUDO_USER=root")
	anyone.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	devices, err := filepath.Glob("/dev/i2c-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(devices, journalSocket) {
		if err := os.Chmod(name, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	heard = 0
	anyone.Run()
	if got, want := journal.next(t), note("anna", "p1", "off", hat, "6", "done"); !maps.Equal(got, want) {
		t.Errorf("who is not root says to be root: noted\n%v\nwant\n%v", got, want)
	}
}

func note(who, id, what, board, priority, outcome string) map[string]string {
	return map[string]string{
		"MESSAGE": who + " switches " + id + " " + what + ": " + outcome, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "clusterctrl",
		"CLUSTERCTRL_USER": who, "CLUSTERCTRL_NODE": id, "CLUSTERCTRL_POWER": what, "CLUSTERCTRL_BOARD": board,
	}
}
