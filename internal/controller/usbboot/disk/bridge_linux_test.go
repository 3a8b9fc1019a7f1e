package disk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/node"
)

// A bridge that has an address of its own keeps it, so that nodes need not ask again.
const bridgeOptions = " address 02:00:00:00:00:01 type bridge stp_state 0 forward_delay 0"

const inNamespace = "CLUSTERCTRL_TEST_NAMESPACE"

// TestRunOnBridge runs the service on a bridge that comes, goes and comes again, with
// nodes in network namespaces: only who is on the bridge at a node's address gets the
// node's disk.
func TestRunOnBridge(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		if os.Getuid() != 0 {
			t.Fatal("want root, to make network namespaces")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestRunOnBridge$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=yes")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	n := network{t, fmt.Sprintf("clusterctrl-%d-", os.Getpid())}
	n.sh("ip link set lo up")
	d := Dir{Path: t.TempDir()}
	add(t, d, image(1), 5, 6)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	said := make(chan string, 100)
	s := &Service{Dir: d, Report: func(id node.ID, what string) { said <- fmt.Sprintf("%v: %s", id, what) }}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()

	for _, bridge := range []string{"br0", "brint"} {
		n.sh("ip link add " + bridge + bridgeOptions + "\nip link set " + bridge + " up")
	}
	n.sh("ip address add 172.19.180.254/24 dev brint")
	n.node("p5", "172.19.180.5", "brint")
	n.node("stranger", "172.19.180.6", "br0")
	n.node("none", "172.19.180.253", "brint")
	n.sh("ip route add 172.19.180.6 dev br0") // there is a way back
	n.connects("p5", "p5")
	for _, other := range []struct{ as, name string }{{"p5", "p6"}, {"stranger", ""}, {"none", "p5"}} {
		if out, err := n.info(other.as, other.name); err == nil {
			t.Errorf("%s has the disk %q:\n%s", other.as, other.name, out)
		}
	}

	// What takes the bridge down, as a restart of the network does, is survived.
	n.sh(`
		ip link del brint
		ip link add brint` + bridgeOptions + `
		ip link set brint up
		ip address add 172.19.180.254/24 dev brint
		ip link set p5-0 master brint`)
	n.connects("p5", "p5")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A network is namespaces whose names have a prefix, and links to them.
type network struct {
	t      *testing.T
	prefix string
}

func (n network) sh(commands string) {
	n.t.Helper()
	for line := range strings.Lines(commands) {
		if words := strings.Fields(line); len(words) > 0 {
			must[string](n.t)(client(words...))
		}
	}
}

// node makes a machine on a bridge.
func (n network) node(name, addr, bridge string) {
	n.t.Helper()
	space := n.prefix + name
	n.sh("ip netns add " + space)
	n.t.Cleanup(func() { n.sh("ip netns del " + space) })
	n.sh(fmt.Sprintf(`
		ip link add %[1]s-0 type veth peer name usb0.10 netns %[2]s
		ip link set %[1]s-0 master %[3]s up
		ip -n %[2]s address add %[4]s/24 dev usb0.10
		ip -n %[2]s link set usb0.10 up`, name, space, bridge, addr))
}

// info asks for a disk in a machine.
func (n network) info(as, name string) (string, error) {
	return client("ip", "netns", "exec", n.prefix+as, "nbdinfo", "--size", fmt.Sprintf("nbd://%v/%s", node.ControllerNFSAddr, name))
}

// connects waits for the service to be there, which nothing tells a node.
func (n network) connects(as, name string) {
	n.t.Helper()
	for {
		out, err := n.info(as, name)
		if err == nil && strings.TrimSpace(out) == fmt.Sprint(16<<20) {
			return
		}
		if err == nil || !strings.Contains(out, "refused") && !strings.Contains(out, "No route") {
			n.t.Fatalf("%v: %s", err, out)
		}
	}
}
