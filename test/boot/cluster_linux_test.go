package boot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/base"
)

// A cluster is one that "clusterctrl lab up" runs.
type cluster struct {
	program string
	env     []string // of the program
	socket  string
	heard   io.Writer // gets what the consoles show
}

// listen returns a context that ends when all consoles are silent for long.
func (c *cluster) listen(t *testing.T) (ctx context.Context) {
	c.heard, ctx = labtest.Listen(t, io.Discard)
	return ctx
}

// up starts a cluster from images, which ends with the test.
func up(t *testing.T, images ...string) cluster {
	t.Helper()
	program, err := makeProgram()
	if err != nil {
		t.Fatal(err)
	}
	// A socket's path has to be short.
	cache, err := os.MkdirTemp("", "cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	c := cluster{program: program, env: append(os.Environ(), "XDG_CACHE_HOME="+cache), socket: filepath.Join(cache, "clusterctrl/lab/socket")}
	cmd := exec.Command(program, append([]string{"lab", "up"}, images...)...)
	cmd.Env, cmd.Stderr = c.env, os.Stderr
	log, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := new(strings.Builder)
	buf := make([]byte, 4096)
	n, err := log.Read(buf) // the first machine is on: the cluster can be asked
	if err != nil {
		t.Fatalf("lab up: %v, %v", err, cmd.Wait())
	}
	said.Write(buf[:n])
	heard := make(chan struct{})
	go func() {
		io.Copy(said, log)
		close(heard)
	}()
	t.Cleanup(func() {
		c.do(t, "down")
		<-heard
		if err := cmd.Wait(); err != nil {
			t.Errorf("lab up: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(cache, "clusterctrl/lab/*")); len(left) > 0 {
			t.Errorf("lab up left %q", left)
		}
		t.Log(said)
	})
	return c
}

// do runs a command of lab.
func (c cluster) do(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(c.program, append([]string{"lab"}, args...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("lab %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// A shell is that of root on the serial console of a machine.
type shell struct {
	*lab.Console
	name string
}

// connect connects with a machine's console, whether it is on or not.
func (c cluster) connect(t *testing.T, name string) shell {
	t.Helper()
	_, conn, err := lab.Ask(c.socket, lab.Request{Do: lab.AskConsole, Machine: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	transcript, err := os.Create(filepath.Join(t.ArtifactDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { transcript.Close() })
	return shell{lab.NewConsole(conn, conn, io.MultiWriter(transcript, c.heard)), name}
}

// login waits for the machine's shell, after each boot.
func (s shell) login(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, text := range []string{s.name + " login: root (automatic login)", "# "} {
		if _, err := s.Expect(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a command, which must succeed, and returns what it prints.
func (s shell) run(t *testing.T, ctx context.Context, command string) string {
	t.Helper()
	out, status, err := s.Run(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Errorf("%s: %s: status %d:\n%s", s.name, command, status, out)
	}
	return out
}

// until waits until a command succeeds. If it never does, all consoles are silent.
func (s shell) until(t *testing.T, ctx context.Context, command string) {
	t.Helper()
	s.run(t, ctx, "until { "+command+"; } >/dev/null 2>&1; do sleep 0.1; done")
}

// letInAll is letIn for the consoles of the lab's machines, with a password for pi on the
// nodes. It needs no module for a device controller, since the lab has one.
func letInAll(tree *rootfs.Image) error {
	err := writeFiles(tree, map[string]string{
		"etc/systemd/system/serial-getty@ttyAMA0.service.d/test.conf": "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I linux\n",
	})
	if err := errors.Join(err, giveTime(tree)); err != nil {
		return err
	}
	shadow, err := fs.ReadFile(tree, "etc/shadow")
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(shadow)) {
		if fields := strings.Split(line, ":"); fields[0] == "pi" {
			fields[1] = "$6$cluster$u5g6ywGwu5plZHN2qObKyZuJ2Jjqm7mqk2xqrj7xwPfsME29rBI0bgSBvljuak/rXFE3W/Pky/qPurogSHs6w/" // raspberry
			line = strings.Join(fields, ":")
		}
		lines = append(lines, line)
	}
	return tree.WriteFile("etc/shadow", []byte(strings.Join(lines, "")), 0)
}

// TestCluster runs a controller and three nodes, all from images that the program
// made, on virtual machines with virtual USB cables.
func TestCluster(t *testing.T) {
	wholeSystems(t)
	for _, tt := range []struct {
		base, role string
		always     bool
	}{
		{base.Bookworm, "cnat", true}, // no DHCP server answers the nodes
		{base.Bookworm, "cbridge", false},
		{base.DHCPCD, "cnat", false},
		{base.DHCPCD, "cbridge", false},
		{base.Trixie, "cnat", false},
		{base.Trixie, "cbridge", false},
	} {
		t.Run(tt.base+" "+tt.role, func(t *testing.T) {
			if tt.always || *all {
				testCluster(t, tt.base, tt.role)
			}
		})
	}
}

func testCluster(t *testing.T, baseName, role string) {
	desk := desks[role]
	nodes := desk.nodes
	c := up(t, clusterImages(t, baseName, role, nodes)...)
	ctx := c.listen(t)
	controller := c.connect(t, role)
	var shells []shell
	for _, name := range nodes {
		shells = append(shells, c.connect(t, name))
	}
	controller.login(t, ctx)
	switchOn(t, ctx, c, controller, desk)
	for _, s := range shells {
		s.login(t, ctx)
	}
	if role == "cbridge" {
		getLeases(t, ctx, controller, shells)
	}
	for _, s := range shells {
		s.until(t, ctx, "ip -4 address show usb0 | grep -q 172.19.181."+s.name[1:]+"/24")
	}
	for _, name := range nodes {
		n := name[1:]
		controller.until(t, ctx, fmt.Sprintf("test -e /dev/ttypi%[1]s -a /sys/class/net/ethpi%[1]s/master -ef /sys/class/net/br0", n))
		controller.run(t, ctx, "test -z \"$(ip -4 address show dev ethpi"+n+")\"") // it is a port
		controller.until(t, ctx, "ping -c 1 172.19.181."+n)
		controller.until(t, ctx, "ping -c 1 "+name)
	}
	for _, s := range shells {
		s.until(t, ctx, "ping -c 1 172.19.181.254")
		s.until(t, ctx, "ip route | grep -q ^default") // later than the address, with dhcpcd
		s.until(t, ctx, "ping -c 1 10.0.2.2")          // what the controller's eth0 leads to
		// The controller's own time is what the node's clock follows.
		s.until(t, ctx, "timedatectl show-timesync -p ServerAddress | grep -q =172.19.181.254 && test -e /run/systemd/timesync/synchronized")
	}
	if role == "cnat" { // on a bridge, nodes have addresses of the DHCP server too
		checkList(t, controller.run(t, ctx, "clusterctrl nodes --json"), nodes)
	}
	logInOverSerial(t, ctx, controller, nodes[2])
	replug(t, ctx, c, controller, nodes)
	for _, s := range append(shells, controller) {
		if got := s.run(t, ctx, "systemctl --failed --plain --no-legend | grep -e clusterctrl -e ttyGS0 -e networking -e dhcpcd -e NetworkManager || true"); got != "" {
			t.Errorf("%s: %s%s", s.name, got, s.run(t, ctx, "journalctl -b -p warning --no-pager"))
		}
	}
	cycle(t, ctx, controller, shells[1])
	becomeUSBBooted(t, ctx, shells[1], controller)
	if baseName == base.Trixie {
		setUpAnew(t, ctx, controller, role, nodes[2])
	}
	const address = "cat /sys/class/net/br0/address"
	before := controller.run(t, ctx, address)
	controller.run(t, ctx, "clusterctrl off p1") // whose link has the lowest address of the bridge's ports
	controller.until(t, ctx, "test ! -e /sys/class/net/ethpi1 -a ! -e /dev/ttypi1")
	if after := controller.run(t, ctx, address); after != before || strings.HasPrefix(after, "00:22:82:") {
		t.Errorf("br0 has the address %sand %swithout p1; want one that is no node's and stays", before, after)
	}
	wantPower(t, ctx, c, controller, nodes[1:], nodes)
	controller.run(t, ctx, "clusterctrl off all")
	controller.until(t, ctx, "! ls /dev/ttypi*")
	wantPower(t, ctx, c, controller, nil, nodes)
}

// A desk is which nodes there are, and on which boards.
type desk struct {
	nodes  []string
	boards string // a command that succeeds once the boards are there
	maxPi  string
}

// desks are those for each kind of controller.
var desks = map[string]desk{
	"cnat":    {[]string{"p1", "p2", "p252"}, "test $(ls -d /dev/ClusterCTRL-* | wc -l) = 8", "252\n"}, // boards of 32
	"cbridge": {[]string{"p1", "p2", "p4"}, "test -e /dev/i2c-1", "4\n"},                               // a ClusterHAT
}

// switchOn switches nodes on, all of which are off at first, and waits for them to come.
func switchOn(t *testing.T, ctx context.Context, c cluster, controller shell, d desk) {
	t.Helper()
	controller.until(t, ctx, d.boards)
	if got := controller.run(t, ctx, "clusterctrl maxpi"); got != d.maxPi {
		t.Errorf("clusterctrl maxpi: %swant %s", got, d.maxPi)
	}
	wantPower(t, ctx, c, controller, nil, d.nodes)
	came := controller.run(t, ctx, "clusterctrl on --wait --timeout 1h "+strings.Join(d.nodes, " "))
	for _, name := range d.nodes {
		if want := fmt.Sprintf("%s: link ethpi%s and console /dev/ttypi%[2]s after ", name, name[1:]); !strings.Contains(came, want) {
			t.Errorf("clusterctrl on --wait says\n%swant %q in it", came, want)
		}
	}
	wantPower(t, ctx, c, controller, d.nodes, d.nodes)
}

// cycle has a node lose its power and get it again.
func cycle(t *testing.T, ctx context.Context, controller, node shell) {
	t.Helper()
	node.run(t, ctx, "touch /run/before")
	controller.run(t, ctx, "clusterctrl cycle --wait --timeout 1h "+node.name)
	node.login(t, ctx)
	node.run(t, ctx, "test ! -e /run/before")
	controller.until(t, ctx, "test -e /sys/class/net/ethpi"+node.name[1:]+"/master")
}

// wantPower wants the lab and the controller to agree on which nodes are on.
func wantPower(t *testing.T, ctx context.Context, c cluster, controller shell, on, nodes []string) {
	t.Helper()
	want := fmt.Sprintf("MACHINE  POWER  CABLE\n%-7s  on     \n", controller.name)
	for _, name := range nodes {
		power := "off"
		if slices.Contains(on, name) {
			power = "on"
		}
		want += fmt.Sprintf("%-7s  %-5s  in\n", name, power)
	}
	if got := c.do(t, "status"); got != want {
		t.Errorf("lab status:\n%s want\n%s", got, want)
	}
	got := controller.run(t, ctx, "clusterctrl status | sed -n 's/^\\(p[0-9]*\\):1$/\\1/p'")
	if !slices.Equal(strings.Fields(got), on) {
		t.Errorf("clusterctrl status says that these are on: %q; want %q", strings.Fields(got), on)
	}
}

// getLeases waits until the DHCP server behind the controller has given addresses
// to all. A node's dhclient or dhcpcd that was up before the controller's bridge has
// its fallback for good: it is asked once more.
func getLeases(t *testing.T, ctx context.Context, controller shell, nodes []shell) {
	t.Helper()
	controller.until(t, ctx, "ip -4 address show br0 | grep -q 10.0.2.")
	controller.run(t, ctx, "cmp /sys/class/net/br0/address /sys/class/net/eth0/address")
	for _, s := range nodes {
		controller.until(t, ctx, "test -e /sys/class/net/ethpi"+s.name[1:]+"/master")
		s.run(t, ctx, "test ! -e /sbin/dhclient || { ifdown usb0; ifup usb0; }")
		s.run(t, ctx, "test ! -e /sbin/dhcpcd || dhcpcd --rebind usb0")
		s.until(t, ctx, "ip -4 address show usb0 | grep -q 10.0.2.")
	}
}

// clusterImages makes the images of a controller and its nodes, which one can log
// in to.
func clusterImages(t *testing.T, baseName, role string, nodes []string) (images []string) {
	t.Helper()
	unbranded := build(t, base.Path(t, baseName), "-CBRIDGE.img", "--no-nat", "--nodes", "0")
	dir := t.TempDir()
	run(t, mustProgram(t), "build", unbranded, "--only", role+","+strings.Join(nodes, ","), "--branded", "--quiet", "-o", dir)
	for _, name := range append([]string{strings.ToUpper(role)}, nodes...) {
		image := filepath.Join(dir, strings.Replace(filepath.Base(unbranded), "CBRIDGE", name, 1))
		change(t, image, letInAll)
		images = append(images, image)
	}
	return images
}

// becomeUSBBooted has node p2 present itself as one that booted over USB, which
// has a second network, in a VLAN.
func becomeUSBBooted(t *testing.T, ctx context.Context, p2, controller shell) {
	t.Helper()
	p2.run(t, ctx, "composite-clusterctrl stop && sed -i s/^TYPE=.*/TYPE=usbboot/ /etc/default/clusterctrl && composite-clusterctrl start")
	controller.until(t, ctx, "test /sys/class/net/ethupi2/master -ef /sys/class/net/br0 -a /sys/class/net/ethupi2.10/master -ef /sys/class/net/brint")
	controller.until(t, ctx, `ip link show ethupi2.10 | grep -q "mtu 1496 .*state UP"`)
	if got := controller.run(t, ctx, "clusterctrl nodes"); !strings.Contains(got, "ethupi2 ") {
		t.Errorf("clusterctrl nodes, of one that booted over USB:\n%s", got)
	}
}

// setUpAnew has NetworkManager set the bridges up again, as one does to change their
// addresses. They get their ports back. When NetworkManager restarts, they keep them.
func setUpAnew(t *testing.T, ctx context.Context, controller shell, role, last string) {
	t.Helper()
	joined := "test /sys/class/net/ethupi2.10/master -ef /sys/class/net/brint"
	ports := []string{"ethpi1", "ethupi2", "ethpi" + last[1:]}
	if role == "cbridge" {
		ports = append(ports, "eth0")
	}
	for _, port := range ports {
		joined += " -a /sys/class/net/" + port + "/master -ef /sys/class/net/br0"
	}
	for _, command := range []string{
		"nmcli connection up clusterctrl-br0 && nmcli connection up clusterctrl-brint",
		"nmcli connection down clusterctrl-br0 && nmcli connection up clusterctrl-br0",
	} {
		controller.run(t, ctx, command)
		controller.until(t, ctx, joined)
	}
	const changes = "dmesg | grep -c -e 'br0: port' -e 'brint: port'"
	before := controller.run(t, ctx, changes)
	controller.run(t, ctx, "nmcli connection reload && systemctl restart NetworkManager && nm-online -s -q")
	controller.run(t, ctx, joined)
	if after := controller.run(t, ctx, changes); after != before {
		t.Errorf("ports of bridges noticed that NetworkManager restarted:\n%s", controller.run(t, ctx, "dmesg | grep port"))
	}
}

func mustProgram(t *testing.T) string {
	t.Helper()
	program, err := makeProgram()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// checkList holds what the controller says is plugged in against what is, in the
// order of the ports of its hub.
func checkList(t *testing.T, text string, nodes []string) {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != len(nodes) {
		t.Fatalf("clusterctrl nodes --json: %v\n%s", err, text)
	}
	for i, name := range nodes {
		var n uint8
		fmt.Sscanf(name, "p%d", &n)
		since, _ := list[i]["since"].(string)
		if _, err := time.Parse(time.RFC3339, since); err != nil {
			t.Errorf("%s: since: %v", name, err)
		}
		if board, _ := list[i]["board"].(string); !strings.HasPrefix(board, "ClusterCTRL DA") {
			t.Errorf("%s: board %q", name, board)
		}
		delete(list[i], "since")
		delete(list[i], "board") // whose bus may have any number
		want := fmt.Sprintf("map[addresses:[172.19.181.%[1]d] boot:SD bridge:br0 interface:ethpi%[1]d link_state:up "+
			"mac:00:22:82:ff:fe:%02[1]x node:p%[1]d other_holds_name:false power:on serial_port:/dev/ttypi%[1]d usb_path:1-%[2]d]", n, i+1)
		if got := fmt.Sprint(list[i]); got != want {
			t.Errorf("clusterctrl nodes --json:\n%s\nwant\n%s", got, want)
		}
	}
}

// logInOverSerial logs in at a node, over its USB cable.
func logInOverSerial(t *testing.T, ctx context.Context, controller shell, name string) {
	t.Helper()
	if err := controller.Send("clusterctrl console " + name); err != nil {
		t.Fatal(err)
	}
	if _, err := controller.Expect(ctx, "~? helps"); err != nil {
		t.Fatal(err)
	}
	if err := controller.Send(""); err != nil {
		t.Fatal(err)
	}
	if err := controller.Login(ctx, "pi", "raspberry"); err != nil {
		t.Fatal(err)
	}
	if got, _, err := controller.Run(ctx, "hostname; tty"); err != nil || got != name+"\n/dev/ttyGS0\n" && got != name+"\nnot a tty\n" {
		t.Errorf("over the serial console of %s: %q, %v", name, got, err)
	}
	if err := controller.Send("exit"); err != nil {
		t.Fatal(err)
	}
	if _, err := controller.Expect(ctx, "logout"); err != nil {
		t.Fatal(err)
	}
	if err := controller.Send("\n~."); err != nil {
		t.Fatal(err)
	}
	if _, err := controller.Expect(ctx, "# "); err != nil {
		t.Fatal(err)
	}
}

// replug pulls a node's plug while it and another are pinged, and puts it in
// again. The other must not notice.
func replug(t *testing.T, ctx context.Context, c cluster, controller shell, nodes []string) {
	t.Helper()
	controller.run(t, ctx, "for n in 1 2; do ping -i 0.2 172.19.181.$n >/tmp/ping$n 2>&1 & echo $! >/tmp/pid$n; done")
	controller.until(t, ctx, "grep -q time= /tmp/ping2")
	c.do(t, "unplug", "p2")
	controller.until(t, ctx, "test ! -e /sys/class/net/ethpi2 -a ! -e /dev/ttypi2")
	controller.run(t, ctx, "test -e /sys/class/net/ethpi1 -a -e /sys/class/net/ethpi"+nodes[2][1:])
	controller.run(t, ctx, "! ls -l /dev/serial/by-id | grep _2-")
	c.do(t, "plug", "p2")
	controller.until(t, ctx, "test -e /sys/class/net/ethpi2/master -a -e /dev/ttypi2")
	t.Log(controller.run(t, ctx, "journalctl -k -o short-monotonic --no-pager | grep -e 'usb 1-2: New USB device found' -e 'ethpi2: renamed' -e 'br0: port .*(ethpi2) entered'"))
	controller.until(t, ctx, "ping -c 1 172.19.181.2")
	controller.run(t, ctx, "kill -INT $(cat /tmp/pid1) $(cat /tmp/pid2)")
	controller.until(t, ctx, "grep -q loss /tmp/ping1")
	// The last may still have been on its way.
	answered := controller.run(t, ctx, "sed -n 's/.* icmp_seq=\\([0-9]*\\) .*/\\1/p' /tmp/ping1")
	if last := len(strings.Fields(answered)); !strings.HasSuffix(answered, fmt.Sprintf("\n%d\n", last)) {
		t.Errorf("answers of p1 while p2 was unplugged:\n%s", answered)
	}
}
