package recipe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// TestUdevRules looks for the rules without which a link stays as it was.
func TestUdevRules(t *testing.T) {
	const rules = "etc/udev/rules.d/90-clusterctrl.rules"
	// NetworkManager's 85-nm-unmanaged.rules, before ours, set this to 1.
	const manage = `SUBSYSTEM=="net", KERNEL=="usb0", ENV{DEVTYPE}=="gadget", ENV{NM_UNMANAGED}="0"`
	const (
		join    = `RUN+="/bin/ip link set dev $name master br0 up"`
		collect = `KERNEL=="br0|brint", RUN+="/etc/NetworkManager/dispatcher.d/90-clusterctrl $name up"`
	)
	for _, n := range networks {
		s, _ := stock(n)
		text := s.file(rules)
		if !strings.Contains(text, join) {
			t.Errorf("%s: want %s", n, join)
		}
		if !strings.Contains(s.file("etc/udev/rules.d/90-clusterctrl-gadget.rules"), manage+"\n") {
			t.Errorf("%s: want %s", n, manage)
		}
		if got, want := strings.Contains(text, collect), n == rootfs.NetworkManager; got != want {
			t.Errorf("%s: has %s: %t, want %t", n, collect, got, want)
		}
	}
}

// TestJoinBridges runs the script for NetworkManager with a directory of links in the
// place of the kernel's, and a program ip that prints its arguments.
func TestJoinBridges(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"net/br0", "net/brint", "net/eth0/device", "net/ethpi1/device", "net/ethpi252/device", "net/ethupi7/device", "net/ethupi7.10"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte("#!/bin/sh\necho \"$*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for bridge, address := range map[string]string{"br0": "of br0", "brint": "of brint", "eth0": "of eth0"} {
		if err := os.WriteFile(filepath.Join(dir, "net", bridge, "address"), []byte(address+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const links = "link set dev ethpi1 master br0 up\nlink set dev ethpi252 master br0 up\nlink set dev ethupi7 master br0 up\n"
	const brint = "link set dev brint address of brint\nlink set dev ethupi7.10 master brint\n"
	for role, address := range map[node.Role]string{node.CBridge: "of eth0", node.CNAT: "of br0"} {
		script := strings.Replace(joinBridges(role), "/sys/class/net", filepath.Join(dir, "net"), 1)
		br0 := "link set dev br0 address " + address + "\n" + links
		for args, want := range map[string]string{
			"br0 up": br0, "br0 down": br0, "br0 pre-up": "", "brint up": brint, "brint down": brint, "eth0 up": "", "none hostname": "",
		} {
			cmd := exec.Command("sh", append([]string{"-c", script, "script"}, strings.Fields(args)...)...)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%v: %s: %v\n%swant\n%s", role, args, err, out, want)
			}
		}
	}
}
