package boot_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/base"
)

// A question is a command that a running system is asked on its serial console,
// and what it must print: a regular expression for all of it, in which ROLE and
// NUMBER stand for what they say.
type question struct{ command, want string }

var questions = []question{
	{"hostname; cat /etc/hostname", `ROLE\nROLE\n`},
	{"grep 127.0.1.1 /etc/hosts; getent ahostsv4 ROLE | head -n 1", `127\.0\.1\.1\tROLE\n127\.0\.1\.1 .*\n`},
	{"getent hosts p3", `172\.19\.181\.3 +p3\n`},
	{"getent hosts controller", `172\.19\.181\.254 +controller.*\n`},
	{"systemctl is-active multi-user.target", `active\n`},
	{"wc -l </var/lib/vendor-firstboot.log", `1\n`},
	{"grep -o init=.* /boot/firmware/cmdline.old", `init=/usr/sbin/reconfig-clusterctrl ROLE *\n`},
	{"wc -l </boot/firmware/cmdline.txt", `1\n`},
	{"grep -c -e clusterctrl -e init= -e ttyGS0 /boot/firmware/cmdline.txt /proc/cmdline", `/boot/firmware/cmdline.txt:0\n/proc/cmdline:0\n`},
	{"grep -c -w resize /boot/firmware/cmdline.txt", `0\n`},
	{"findmnt -n -o FSTYPE,TARGET /boot/firmware", `vfat +/boot/firmware\n`},
	{"ls -d /boot/firmware/clusterctrl-error.txt /var/lib/clusterctrl/reconfig-attempts 2>/dev/null", ``},
	{"cat /etc/machine-id; findmnt -n /etc/machine-id", `[0-9a-f]{32}\n`}, // on the card, not mounted over it
	{"ls /etc/ssh | grep -c ^ssh_host_.*_key$", `[3-9]\n`},
	{"systemctl is-enabled clusterctrl-hostkeys.service", `enabled\n`},
	{"systemctl --failed --plain --no-legend | grep -e clusterctrl -e ttyGS0 -e machine-id -e ssh", ``},
}

var nodeQuestions = []question{
	{"grep -E '^(TYPE|ID)=' /etc/default/clusterctrl", `TYPE=node\nID=NUMBER\n`},
	{"systemctl is-enabled serial-getty@ttyGS0.service clusterctrl-composite.service", `enabled\nenabled\n`},
	{"systemctl is-enabled clusterctrl-init.service clusterctrl-rpiboot.service", `disabled\ndisabled\n`},
	// Those before are for other Pis than a Zero.
	{"grep -E '^(dtoverlay=dwc2|#?otg_mode)' /boot/firmware/config.txt", `(?s).*dtoverlay=dwc2,dr_mode=peripheral\n#otg_mode=1 # Controller only\notg_mode=0\n`},
	{"cat /etc/issue", `(?s).*4\{usb0\}.*`},
	{"cat /etc/sysctl.d/90-clusterctrl.conf; sysctl -n net.ipv4.ip_forward", `#net.ipv4.ip_forward=1 # ClusterCTRL\n0\n`},
	{"cat /etc/exports /etc/hosts.allow 2>/dev/null | grep -c 172.19.180", `0\n`},
	// The gadget is a real one, on a device controller that the kernel plays: the
	// emulated board has none.
	{"systemctl is-active clusterctrl-composite.service serial-getty@ttyGS0.service", `active\nactive\n`},
	{"cat /sys/class/net/usb0/address", `00:22:82:ff:ff:[0-9a-f]{2}\n`},
	{"cat /sys/kernel/config/usb_gadget/ClusterCTRL/strings/0x409/serialnumber", `NUMBER\n`},
}

var controllerQuestions = []question{
	{"systemctl is-enabled serial-getty@ttyGS0.service clusterctrl-composite.service", `disabled\ndisabled\n`},
	{"systemctl is-enabled clusterctrl-init.service", `enabled\n`},
	{"systemctl is-active clusterctrl-init.service", `active\n`},
	{"grep -E '^(dtoverlay=dwc2|#?otg_mode)' /boot/firmware/config.txt", `(?s).*dtoverlay=dwc2,dr_mode=host\notg_mode=1 # Controller only\notg_mode=0\n`},
	{"cat /etc/issue", `(?s).*4\{br0\}.*`},
	{"ip -o link show type bridge | grep -o -E 'br(0|int):'", `br0:\nbrint:\n`},
	{"ip -4 -o addr show dev brint", `.*inet 172\.19\.180\.254/24 .*\n`},
	{"grep -c nfs/p /etc/exports", `252\n`},
}

// What tells a bridging controller from a routing one.
var kindQuestions = map[string][]question{
	"cbridge": {
		{"grep -E '^(TYPE|ID)=' /etc/default/clusterctrl", `TYPE=c\nID=\n`},
		{"sysctl -n net.ipv4.ip_forward", `0\n`},
	},
	"cnat": {
		{"grep -E '^(TYPE|ID)=' /etc/default/clusterctrl", `TYPE=cnat\nID=\n`},
		{"sysctl -n net.ipv4.ip_forward", `1\n`},
	},
}

// The node's fallback address, where the release's network program reads it.
var fallback = map[string]question{
	base.Bookworm: {"grep Px /etc/dhcp/dhclient.conf; cat /etc/network/interfaces.d/clusterctrl",
		`  fixed-address 172\.19\.181\.NUMBER; # ClusterCTRL Px\nauto usb0\niface usb0 inet dhcp\n\tmetric 1000\n`},
	base.DHCPCD: {"grep '#ClusterCTRL' /etc/dhcpcd.conf; until ip -4 address show usb0 | grep -o 172.19.181.*/24; do sleep 0.1; done",
		`static ip_address=172\.19\.181\.NUMBER/24 #ClusterCTRL\n172\.19\.181\.NUMBER/24\n`},
	base.Trixie: {"cd /etc/NetworkManager/system-connections; stat -c '%a %U' clusterctrl-usb0.nmconnection; grep ^address clusterctrl-usb0.nmconnection",
		`600 root\naddress1=172\.19\.181\.NUMBER/24\n`},
}

// What udev itself finds wrong with the rules, in releases whose udev tells.
var verdicts = map[string][]question{
	base.Trixie: {{"udevadm verify --no-summary /etc/udev/rules.d/90-clusterctrl*.rules && echo right", `right\n`}},
}

// Which of them run without -all: names of each length and a controller, and once
// the release with cloud-init, which takes twice as long. With -short it is one.
var boots = []struct {
	release string
	roles   []string
	always  []string
}{
	{base.Bookworm, []string{"p1", "p16", "p252", "cbridge", "cnat"}, []string{"p1", "p16", "p252", "cbridge"}},
	{base.DHCPCD, []string{"p16", "cbridge"}, nil},
	{base.Trixie, []string{"p1", "p16", "p252", "cbridge", "cnat"}, []string{"p1"}},
}

// TestRoles boots an image for each role until it is an ordinary system, and asks
// that what it is. No two are the same machine.
func TestRoles(t *testing.T) {
	for _, tt := range boots {
		t.Run(tt.release, func(t *testing.T) {
			image := build(t, base.Path(t, tt.release), "-p1.img", "--nodes", "1", "--no-nat")
			seen := map[string]string{}
			for _, role := range tt.roles {
				if testing.Short() && (tt.release != base.Bookworm || role != "p1") {
					continue
				}
				if !*all && !slices.Contains(tt.always, role) {
					continue
				}
				t.Run(role, func(t *testing.T) {
					m, ctx := newMachine(t, lab.Config{Model: "raspi3b", Image: cardFor(t, image, role, letIn), InPlace: true})
					b := bootOften(t, ctx, m, tt.release, role)
					b.ask(t, ctx, questionsFor(tt.release, role))
					for _, command := range []string{"cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"} {
						id := b.run(t, ctx, command)
						if other, ok := seen[id]; ok {
							t.Errorf("%s: %q, as %s has", command, id, other)
						}
						seen[id] = role
					}
				})
			}
		})
	}
}

// cardFor makes a copy of a node's image for another role, and changes it.
func cardFor(t *testing.T, image, role string, edit func(*rootfs.Image) error) string {
	t.Helper()
	card := copyImage(t, image)
	parsed, err := node.ParseRole(role)
	if err != nil {
		t.Fatal(err)
	}
	change(t, card, func(tree *rootfs.Image) error {
		// What build does for each node.
		text, err := fs.ReadFile(tree, tree.CommandLine())
		if err != nil {
			return err
		}
		line, err := recipe.Rebrand(string(text), parsed)
		if err != nil {
			return err
		}
		if err := tree.WriteFile(tree.CommandLine(), []byte(line), 0); err != nil {
			return err
		}
		return edit(tree)
	})
	return card
}

// What gives services and devices the time that they may need on a busy machine,
// whatever they ask for themselves.
const (
	unhurried      = "[Service]\nTimeoutStartSec=infinity\n"
	patientManager = "[Manager]\nDefaultTimeoutStartSec=infinity\nDefaultDeviceTimeoutSec=infinity\n"
)

// letIn logs root in on the serial console, has the kernel play a USB device
// controller, which the emulated board lacks, and has the system wait.
func letIn(tree *rootfs.Image) error {
	for name, text := range map[string]string{
		"etc/systemd/system/serial-getty@ttyS1.service.d/test.conf": "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I linux\n",
		"etc/systemd/system/service.d/test.conf":                    unhurried,
		"etc/systemd/system.conf.d/test.conf":                       patientManager,
		"etc/modules-load.d/test.conf":                              "dummy_hcd\n",
	} {
		if err := tree.Mkdir(path.Dir(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := tree.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A system has a shell on its console.
type system struct{ *lab.Boot }

// bootOften boots a new card: for ours, for the vendor's first boot where that is
// a boot of its own, and to a shell.
func bootOften(t *testing.T, ctx context.Context, m *lab.Machine, release, role string) system {
	t.Helper()
	restarts(t, ctx, boot(t, ctx, m), "clusterctrl: change files", "clusterctrl: restart")
	if release != base.Trixie {
		restarts(t, ctx, boot(t, ctx, m))
	}
	b := boot(t, ctx, m)
	for _, text := range []string{role + " login: root (automatic login)", "# "} {
		if _, err := b.Expect(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	// By then no service writes to the console between the lines of answers, as
	// cloud-init does. The quotes keep the mark out of the line's echo.
	if err := b.Send("systemctl is-system-running --wait; echo 'all is'' started'"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Expect(ctx, "all is started"); err != nil {
		t.Fatal(err)
	}
	return system{b}
}

func (s system) run(t *testing.T, ctx context.Context, command string) string {
	t.Helper()
	output, _, err := s.Run(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func (s system) ask(t *testing.T, ctx context.Context, questions []question) {
	t.Helper()
	for _, q := range questions {
		if got := s.run(t, ctx, q.command); !regexp.MustCompile(`^(?:` + q.want + `)$`).MatchString(got) {
			t.Errorf("%s: %q, want %s", q.command, got, q.want)
		}
	}
	if t.Failed() {
		t.Log(s.run(t, ctx, "systemctl --failed --no-pager; journalctl -b -p warning --no-pager"))
	}
}

func questionsFor(release, role string) []question {
	kind := slices.Concat(controllerQuestions, kindQuestions[role])
	number, isNode := strings.CutPrefix(role, "p")
	if isNode {
		kind = append(slices.Clone(nodeQuestions), fallback[release])
	}
	var all []question
	for _, q := range slices.Concat(questions, verdicts[release], kind) {
		all = append(all, question{words(q.command, role, number), words(q.want, role, number)})
	}
	return all
}

func words(text, role, number string) string {
	return strings.NewReplacer("ROLE", role, "NUMBER", number).Replace(text)
}
