package recipe

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// TestHostKeysOrder: services start after all sockets unless they say otherwise. So
// nothing may be ordered before a socket: to break the cycle, systemd would leave out the
// socket.
func TestHostKeysOrder(t *testing.T) {
	s, _ := stock(rootfs.NetworkManager)
	unit := s.file("usr/lib/systemd/system/clusterctrl-hostkeys.service")
	for line := range strings.Lines(unit) {
		if strings.HasPrefix(line, "Before=") && strings.Contains(line, ".socket") {
			t.Errorf("%swant no socket in it", line)
		}
	}
	if !strings.Contains(unit, "\nAfter=regenerate_ssh_host_keys.service sshd-keygen.service\n") {
		t.Errorf("the unit runs beside the vendor's:\n%s", unit)
	}
}

// TestInitOrder: services that throw away all rules of the packet filter when they start
// come before the one that makes a routing controller's rules, and all come before the
// network.
func TestInitOrder(t *testing.T) {
	s, _ := stock(rootfs.NetworkManager)
	unit := s.file("usr/lib/systemd/system/clusterctrl-init.service")
	for _, want := range []string{"\nAfter=nftables.service netfilter-persistent.service ufw.service\n", "\nBefore=network-pre.target\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("no %q in\n%s", want, unit)
		}
	}
}

// TestPresets: units stay as the role wants them when systemd applies presets to all
// units, and when it only enables units, as it does where /etc/machine-id says that
// nobody has booted the image.
func TestPresets(t *testing.T) {
	s, image := controllerImage(t, rootfs.NetworkManager)
	for _, role := range []node.Role{node.CBridge, node.CNAT, node.ID(7).Role()} {
		branded := rootfs.NewOverlay(image)
		if err := edit.Apply(branded, brandEdits(s, role)); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"--preset-mode=full preset-all", "--preset-mode=enable-only preset-all", "preset clusterctrl-composite.service"} {
			root := t.TempDir()
			if err := os.CopyFS(root, branded); err != nil {
				t.Fatal(err)
			}
			before := enabledIn(t, root)
			out, err := exec.Command("systemctl", append([]string{"--root=" + root}, strings.Fields(command)...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v (apt-get install systemd)", out, err)
			}
			after := enabledIn(t, root)
			if after != before {
				t.Errorf("%v, %s: enabled by presets:\n%s", role, command, difference(after, before))
			}
		}
	}
}

// enabledIn lists the links by which units are started, except for the NFS server's,
// which are the owner's choice.
func enabledIn(t *testing.T, root string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*"))
	if err != nil || len(names) == 0 {
		t.Fatal(err, "nothing is enabled")
	}
	names = slices.DeleteFunc(names, func(name string) bool { return filepath.Base(name) == nfsUnit })
	return strings.ReplaceAll(strings.Join(names, "\n"), root, "")
}
