package fence

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A machine is a network namespace, and the thread that is in it.
type machine struct {
	t   *testing.T
	tid int
	do  chan func()
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("want root, to make a network namespace")
	}
	m := &machine{t: t, do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with the test
		m.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range m.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(m.do) })
	return m
}

// run does something in the machine.
func (m *machine) run(f func() error) {
	m.t.Helper()
	done := make(chan error)
	m.do <- func() { done <- f() }
	if err := <-done; err != nil {
		m.t.Fatal(err)
	}
}

// sh runs commands in the machine, a line each, and returns what the last one prints.
func (m *machine) sh(commands string) (out string) {
	m.t.Helper()
	m.run(func() error {
		for line := range strings.Lines(commands) {
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			text, err := exec.Command(words[0], words[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", line, err, text)
			}
			out = string(text)
		}
		return nil
	})
	return out
}

// listen returns the texts that datagrams to the machine's port 9999 hold.
func (m *machine) listen() <-chan string {
	m.t.Helper()
	var conn net.PacketConn
	m.run(func() (err error) {
		conn, err = net.ListenPacket("udp4", "0.0.0.0:9999")
		return err
	})
	m.t.Cleanup(func() { conn.Close() })
	texts := make(chan string, 10)
	go func() {
		buf := make([]byte, 100)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			texts <- string(buf[:n])
		}
	}()
	return texts
}

// send sends a datagram from an address, which may be another's.
func (m *machine) send(from, to, text string) {
	m.t.Helper()
	m.run(func() error {
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(to), Port: 9999})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		return err
	})
}

// TestFence: what a node says in another's name does not arrive, nor what it says to
// another node. Without the fence both do.
func TestFence(t *testing.T) {
	controller, p5, p6 := newMachine(t), newMachine(t), newMachine(t)
	controller.sh(`
		ip link add brint type bridge stp_state 0 forward_delay 0
		ip address add 172.19.180.254/24 dev brint
		ip link set brint up`)
	for id, m := range map[int]*machine{5: p5, 6: p6} {
		controller.sh(fmt.Sprintf(`
			ip link add ethupi%[1]d.10 type veth peer name usb0.10 address 02:00:00:00:00:0%[1]d netns %[2]d
			ip link set ethupi%[1]d.10 master brint up`, id, m.tid))
		m.sh(fmt.Sprintf("ip address add 172.19.180.%d/24 dev usb0.10\nip link set usb0.10 up", id))
	}
	p5.sh(`
		ip address add 172.19.180.66/24 dev usb0.10
		ip neighbour add 172.19.180.6 lladdr 02:00:00:00:00:06 dev usb0.10`)
	atController, atP6 := controller.listen(), p6.listen()

	// next sends what may not arrive, and then what does.
	next := func(arriving <-chan string, want string, from *machine, fromAddr, to string, known *machine, knownAddr string) {
		t.Helper()
		from.send(fromAddr, to, "stranger")
		known.send(knownAddr, to, "known")
		if got := <-arriving; got != want {
			t.Errorf("from %s to %s: %q arrived first, want %q", fromAddr, to, got, want)
		} else if got == "stranger" {
			<-arriving
		}
	}
	next(atController, "stranger", p5, "172.19.180.66", "172.19.180.254", p5, "172.19.180.5")
	next(atP6, "stranger", p5, "172.19.180.5", "172.19.180.6", controller, "172.19.180.254")
	controller.sh("ip neighbour flush dev brint")
	p5.sh("ip neighbour del 172.19.180.254 dev usb0.10")

	check := func(want error) {
		t.Helper()
		controller.run(func() error {
			if err := Check(); !errors.Is(err, want) {
				t.Errorf("Check says %v, want %v", err, want)
			}
			return nil
		})
	}
	check(ErrOpen)
	for range 2 { // a second start changes nothing
		controller.run(Start)
		check(nil)
	}
	next(atController, "known", p5, "172.19.180.66", "172.19.180.254", p5, "172.19.180.5")
	next(atController, "known", p5, "172.19.180.66", "172.19.180.254", p6, "172.19.180.6")
	next(atP6, "known", p5, "172.19.180.5", "172.19.180.6", controller, "172.19.180.254")
	if got := controller.sh("ip neighbour show"); strings.Contains(got, "172.19.180.66") || !strings.Contains(got, "172.19.180.5 ") {
		t.Errorf("the controller knows\n%s", got)
	}
	rules := controller.sh("nft list ruleset")
	for _, want := range []string{
		"table bridge clusterctrl_fence {", `"ethupi1.10" . 172.19.180.1`, `"ethupi252.10" . 172.19.180.252`,
		"type filter hook prerouting priority filter; policy accept;", `iifname . ip saddr @addresses accept`, `iifname . arp saddr ip @addresses accept`,
		`iifname != @ports accept`, `iifname @ports drop`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %s in\n%s", want, rules)
		}
	}
	for _, lose := range []string{"nft flush chain bridge clusterctrl_fence crossing", "nft flush ruleset"} {
		controller.run(Start)
		controller.sh(lose)
		check(ErrOpen)
	}
}
