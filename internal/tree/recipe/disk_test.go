package recipe

import (
	"strings"
	"testing"

	"clusterctrl/internal/node"
)

func TestDiskCommandLine(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"first boot", "console=tty1 root=PARTUUID=1-02 rootwait clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl p7\n",
			"nbdroot=172.19.180.254/p7 console=tty1 root=PARTUUID=1-02 rootwait clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl p7\n"},
		{"later", "root=PARTUUID=1-02 quiet", "nbdroot=172.19.180.254/p7 root=PARTUUID=1-02 quiet\n"},
		{"Imager's script", "root=x systemd.run=/boot/firstrun.sh", "nbdroot=172.19.180.254/p7 root=x systemd.run=/boot/firstrun.sh\n"},
		{"another node's", "nbdroot=172.19.180.254/p8 ip=172.19.180.8::: nfsroot=1:/2 root=x", "nbdroot=172.19.180.254/p7 root=x\n"},
		{"no line", "\n", ""},
		{"two lines", "root=x\nquiet\n", ""},
	} {
		got, err := DiskCommandLine(tt.text, 7)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestDiskConfig: whatever a disk's config.txt says, its node is a USB device, and its
// initramfs is loaded.
func TestDiskConfig(t *testing.T) {
	const users = "auto_initramfs=0\n[pi4]\nover_voltage=2\n"
	host := bootConfig("", node.CBridge).In(users)
	for _, text := range []string{"", users, host, bootConfig("", node.ID(8).Role()).In(users), host + "[pi5]\nmine=1\n"} {
		got := DiskConfig(text, 7)
		if !strings.HasSuffix(got, "\n[all]\nauto_initramfs=1\n") || !strings.Contains(got, "\n[all]\ndtoverlay=dwc2,dr_mode=peripheral\n") || strings.Contains(got, "dr_mode=host") {
			t.Errorf("%q becomes\n%s", text, got)
		}
		if strings.Contains(text, users) && !strings.Contains(got, users) {
			t.Errorf("the user's lines of %q are lost:\n%s", text, got)
		}
	}
}
