package build_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A content is what a file must hold. A want that ends in a newline is lines
// that stand there together, as they are; "" is an empty file.
type content struct{ name, want string }

// The files of all releases, from the table of files and the node's identity.
var allFiles = []content{
	{"etc/hostname", "cbridge\n"},
	{"etc/hosts", "127.0.0.1\tlocalhost\n"},
	{"etc/hosts", "\n127.0.1.1\tcbridge\n"},
	{"etc/issue", `\4{br0}`},
	{"etc/hosts.allow", "\nmountd: 172.19.180. 127.0.0.1\nrpcbind: 172.19.180. 127.0.0.1\n"},
	{"etc/hosts.deny", "\nmountd: ALL\nrpcbind: ALL\n"},
	// Debian 13 does not read /etc/sysctl.conf.
	{"etc/sysctl.d/90-clusterctrl.conf", "#net.ipv4.ip_forward=1 # ClusterCTRL\n"},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ATTRS{idVendor}=="3171", ATTRS{idProduct}=="002[0-5]", ATTRS{product}=="ClusterCTRL", `},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ATTRS{product}=="ClusterCTRL-usbboot", `},
	{"etc/udev/rules.d/90-clusterctrl.rules", `NAME="ethpi$attr{serial}"`},
	{"etc/udev/rules.d/90-clusterctrl.rules", `NAME="ethupi$attr{serial}"`},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ENV{ID_USB_INTERFACE_NUM}=="02", ENV{.CLUSTERCTRL_NAME}="ttypi$env{ID_SERIAL_SHORT}"`},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ENV{ID_USB_INTERFACE_NUM}=="04", ENV{.CLUSTERCTRL_NAME}="ttypi$env{ID_SERIAL_SHORT}a"`},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ENV{ID_MM_DEVICE_IGNORE}="1"`},
	{"etc/udev/rules.d/90-clusterctrl.rules", `ATTR{idProduct}=="001?"`}, // boards
	{"etc/udev/rules.d/90-clusterctrl.rules", `SYMLINK+="ClusterCTRL-%n"`},
	{"usr/share/clusterctrl/default-clusterctrl", "\nTYPE=\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\nID=\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\nLINK=1\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\nCLUSTERCTRL_DELAY=1\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\nFANGPIO=18\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\nGADGET=rndis\n"},
	{"usr/share/clusterctrl/default-clusterctrl", "\n#CLUSTERHAT_SIZE="},
	{"usr/share/clusterctrl/default-clusterctrl", "\n#CLUSTERHAT_FORCE="},
	{"usr/share/clusterctrl/default-clusterctrl", "\n#CLUSTERHATV1="},
	{"usr/share/clusterctrl/issue.p", `\4{usb0} \6{usb0}`},
	{"usr/share/clusterctrl/issue.c", `\4{br0}`},
	{"usr/share/clusterctrl/interfaces.bookworm.p", "auto usb0\niface usb0 inet dhcp\n\tmetric 1000\n"},
	{"usr/share/clusterctrl/interfaces.bookworm.cbridge", "\nauto br0\niface br0 inet dhcp\n"},
	{"usr/share/clusterctrl/interfaces.bookworm.cnat", "\nauto br0\niface br0 inet static\n\taddress 172.19.181.254/24\n"},
	{"usr/share/clusterctrl/interfaces.bookworm.cnat", "\nauto brint\niface brint inet static\n\taddress 172.19.180.254/24\n"},
	{"usr/share/clusterctrl/interfaces.cbridge", "\niface br0 inet manual\n"}, // dhcpcd asks
	{"usr/share/clusterctrl/interfaces.cnat", "\niface br0 inet static\n\taddress 172.19.181.254/24\n"},
	{"usr/lib/systemd/system/clusterctrl-composite.service", "\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/composite-clusterctrl start\n"},
	{"usr/lib/systemd/system/serial-getty@ttyGS0.service.d/10-clusterctrl.conf", "\nExecStart=\nExecStart=-/sbin/agetty --wait-cr "},
	{"usr/lib/systemd/system/clusterctrl-init.service", "\nExecStart=/usr/sbin/clusterctrl init\n"},
	{"usr/lib/systemd/system/clusterctrl-init.service", "\nBefore=network-pre.target\n"},
	{"usr/lib/systemd/system/clusterctrl-clock.service", "\nExecStart=/usr/sbin/clusterctrl clock\n"},
	{"usr/lib/systemd/system/clusterctrl-disk.path", "\nPathExistsGlob=/var/lib/clusterctrl/disk/p*\n"},
	{"usr/lib/systemd/system/clusterctrl-disk.service", "\nExecStart=/usr/sbin/clusterctrl disk serve\n"},
	{"usr/lib/systemd/system/clusterctrl-rpiboot.service", " /var/lib/clusterctrl/boot\n"},
	{"usr/lib/systemd/system/clusterctrl-rpiboot.service", "\nAfter=clusterctrl-init.service nfs-server.service\n"},
}

// Bookworm's ifupdown: br0 takes eth0's MAC and DHCP, with STP off and no delay;
// dhclient falls back to the leases in its configuration.
var bookwormFiles = []content{
	{"etc/machine-id", ""},
	{"etc/network/interfaces.d/clusterctrl", "\nauto br0\niface br0 inet dhcp\n"},
	{"etc/network/interfaces.d/clusterctrl", " ip link add br0 type bridge stp_state 0 forward_delay 0\n"},
	{"etc/network/interfaces.d/clusterctrl", ` ip link set dev br0 address "$(cat /sys/class/net/eth0/address)"`},
	{"etc/network/interfaces.d/clusterctrl", "\nauto brint\niface brint inet static\n\taddress 172.19.180.254/24\n"},
	{"etc/dhcp/dhclient.conf", "\n# START ClusterCTRL config\ntimeout 10;\ninitial-interval 2;\nlease {\n"},
	{"etc/dhcp/dhclient.conf", `
  interface "usb0";
  fixed-address 172.19.181.253; # ClusterCTRL Px
  option subnet-mask 255.255.255.0;
  option routers 172.19.181.254;
  option domain-name-servers 8.8.8.8;
  renew never;
  rebind never;
  expire never;
}
`},
	{"etc/dhcp/dhclient.conf", `
  interface "br0";
  fixed-address 172.19.181.254;
  option subnet-mask 255.255.255.0;
  renew never;
  rebind never;
  expire never;
}
# END ClusterCTRL config
`},
	{"etc/dhcp/dhclient-exit-hooks.d/clusterctrl", "if [ \"$interface\" = br0 ]; then\n"},
	{"etc/dhcp/dhclient-exit-hooks.d/clusterctrl", " ip -4 address replace 172.19.181.254/24 brd + dev br0 "},
	{"etc/udev/rules.d/90-clusterctrl.rules", "master br0 up"}, // ifupdown watches no links
}

// Trixie's NetworkManager: a bridge that it sets up anew gets its ports back, br0 has
// its fixed address beside DHCP, and cloud-init leaves the node's name alone.
var trixieFiles = []content{
	{"etc/machine-id", "uninitialized\n"},
	{"etc/cloud/cloud.cfg.d/99-clusterctrl.cfg", "\npreserve_hostname: true\nmanage_etc_hosts: false\n"},
	{profiles + "br0.nmconnection", "\ntype=bridge\n"},
	{profiles + "br0.nmconnection", "\ninterface-name=br0\nautoconnect-slaves=1\n"},
	{profiles + "br0.nmconnection", "\n[bridge]\nstp=false\n"},
	{profiles + "br0.nmconnection", "\n[ipv4]\nmethod=auto\naddress1=172.19.181.254/24\n"},
	{profiles + "brint.nmconnection", "\ntype=bridge\n"},
	{profiles + "brint.nmconnection", "\ninterface-name=brint\n"},
	{profiles + "brint.nmconnection", "\n[bridge]\nstp=false\n"},
	{profiles + "brint.nmconnection", "\n[ipv4]\nmethod=manual\naddress1=172.19.180.254/24\n"},
	{profiles + "eth0.nmconnection", "\ninterface-name=eth0\nmaster=br0\nslave-type=bridge\n"},
	{"etc/NetworkManager/dispatcher.d/90-clusterctrl", "\n\tfor i in ethpi*/device ethupi*/device; do\n"},
	{"etc/NetworkManager/dispatcher.d/90-clusterctrl", "\n\tfor i in ethupi*.10; do\n"},
	{"etc/udev/rules.d/90-clusterctrl.rules", "RUN+=\"/etc/NetworkManager/dispatcher.d/90-clusterctrl $name up\"\n"},
	{profiles + "usb0.nmconnection", "\ninterface-name=usb0\n"},
	{profiles + "usb0.nmconnection", "\n[ipv4]\nmethod=auto\naddress1=172.19.181.253/24\nroute1=0.0.0.0/0,172.19.181.254,"},
	{profiles + "usb0.nmconnection", "\ndns=8.8.8.8;"},
}

const profiles = "etc/NetworkManager/system-connections/clusterctrl-"

func (b built) testFiles(t *testing.T) {
	wantContents(t, b.root, allFiles)
	wantContents(t, b.root, b.files)
	if text := readFile(t, filepath.Join(b.root, "etc/hosts")); strings.Contains(text, "raspberrypi") {
		t.Errorf("etc/hosts keeps the old name:\n%s", text)
	}
	var exports strings.Builder
	for n := 1; n <= 252; n++ {
		fmt.Fprintf(&exports, "/var/lib/clusterctrl/nfs/p%d 172.19.180.%d(rw,sync,no_subtree_check,no_root_squash)\n", n, n)
		minirc := readFile(t, filepath.Join(b.root, fmt.Sprintf("etc/minicom/minirc.p%d", n)))
		if got, want := strings.Fields(minirc)[:3], fmt.Sprintf("pu port /dev/ttypi%d", n); strings.Join(got, " ") != want {
			t.Errorf("minirc.p%d starts with %q, want %q", n, got, want)
		}
	}
	want := "# START ClusterCTRL config\n" + exports.String() + "# END ClusterCTRL config\n"
	if diff := cmp.Diff(want, readFile(t, filepath.Join(b.root, "etc/exports"))); diff != "" {
		t.Errorf("etc/exports, - wanted, + got:\n%s", diff)
	}
}

func wantContents(t *testing.T, root string, contents []content) {
	t.Helper()
	for _, c := range contents {
		got := readFile(t, filepath.Join(root, c.name))
		if !strings.Contains("\n"+got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s is\n%s\nwant in it %q", c.name, got, c.want)
		}
	}
}

// testConfig reads config.txt as the firmware does, by sections: what was there
// stays, and all of ours comes behind it.
func (b built) testConfig(t *testing.T) {
	stock := openDisk(t, b.base).bootFile(t, "config.txt")
	added, ok := strings.CutPrefix(readFile(t, filepath.Join(b.boot, "config.txt")), stock)
	if !ok {
		t.Fatal("config.txt does not start with the stock one")
	}
	const clockStretching = "dtoverlay=i2c-gpio,bus=1,i2c_gpio_sda=2,i2c_gpio_scl=3"
	want := map[string][]string{
		"all": {"enable_uart=1", "dtoverlay=dwc2,dr_mode=host"},
		"pi0": {clockStretching},
		"pi1": {clockStretching},
		"pi2": {clockStretching},
		"pi3": {clockStretching},
		"pi4": {clockStretching, "otg_mode=1 # Controller only"},
		"pi5": {"dtparam=i2c_arm=on"},
		"cm4": {"otg_mode=0"},
	}
	got, last := sections(added)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config.txt, - wanted, + got:\n%s", diff)
	}
	if last != "all" { // what others append must count for all
		t.Errorf("config.txt ends in section %q, want all", last)
	}
}

// sections returns a config.txt's lines by section, and the last section.
func sections(config string) (lines map[string][]string, section string) {
	lines, section = map[string][]string{}, "all"
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			lines[section] = append(lines[section], line)
		}
	}
	return lines, section
}

// systemctl says whether a unit is enabled, whatever its exit status.
func systemctl(root, unit string) (string, error) {
	out, err := exec.Command("systemctl", "--root="+root, "is-enabled", unit).Output()
	return strings.TrimSpace(string(out)), err
}
