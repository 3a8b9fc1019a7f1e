package boot_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/base"
)

// A question is a command that a running system is asked on its serial console,
// and what it must print: a regular expression for all of it, in which ROLE, NUMBER
// and NAME, of the host, stand for what they say.
type question struct{ command, want string }

// diskID prints the id of the disk with the root, as it is on the disk.
const diskID = "fdisk -l /dev/$(lsblk -no pkname $(findmnt -no SOURCE /)) | sed -n 's/^Disk identifier: 0x//p'"

var questions = []question{
	{"hostname; cat /etc/hostname", `NAME\nNAME\n`},
	{"grep 127.0.1.1 /etc/hosts; getent ahostsv4 NAME | head -n 1", `127\.0\.1\.1\tNAME\n127\.0\.1\.1 .*\n`},
	{"getent hosts ROLE | wc -l", `[12]\n`}, // also where the host has another name
	{"getent hosts p3", `172\.19\.181\.3 +p3\n`},
	{"getent hosts controller", `172\.19\.181\.254 +controller.*\n`},
	{"systemctl is-active multi-user.target", `active\n`},
	{"wc -l </var/lib/vendor-firstboot.log", `1\n`}, // the disk got a new id once
	{diskID + "; grep -c \"PARTUUID=$(" + diskID + ")-0[12]\" /etc/fstab /boot/firmware/cmdline.txt", `[0-9a-f]{8}\n/etc/fstab:2\n/boot/firmware/cmdline.txt:1\n`},
	{"test $(df -B 1 --output=size / | tail -n 1) -gt 3000000000 && echo grown", `grown\n`}, // of a card of 4 GiB
	{"clusterctrl verify ROLE --root / -q && echo as it should be", `as it should be\n`},
	{"grep -o init=.* /boot/firmware/cmdline.old", `init=/usr/sbin/reconfig-clusterctrl ROLE *((systemd.run|ds)=.*)?\n`},
	{"wc -l </boot/firmware/cmdline.txt", `1\n`},
	{"grep -c -e clusterctrl -e init= -e ttyGS0 /boot/firmware/cmdline.txt /proc/cmdline", `/boot/firmware/cmdline.txt:0\n/proc/cmdline:0\n`},
	{"grep -c -w resize /boot/firmware/cmdline.txt", `0\n`},
	{"findmnt -n -o FSTYPE,TARGET /boot/firmware", `vfat +/boot/firmware\n`},
	{"ls -d /boot/firmware/clusterctrl-error.txt /var/lib/clusterctrl/reconfig-attempts 2>/dev/null", ``},
	{"cat /etc/machine-id; findmnt -n /etc/machine-id", `[0-9a-f]{32}\n`}, // on the card, not mounted over it
	{"ls /etc/ssh | grep -c ^ssh_host_.*_key$", `[3-9]\n`},
	{"systemctl is-enabled clusterctrl-hostkeys.service", `enabled\n`},
	// The vendor's unit fails where systemd needs three minutes to load its units anew, for
	// which systemctl waits no longer. Whether there are keys is asked below.
	{"systemctl --failed --plain --no-legend | grep -e clusterctrl -e ttyGS0 -e machine-id -e ssh | grep -v regenerate_ssh_host_keys", ``},
	{"journalctl -b -u systemd-udevd -p warning -o cat --no-pager | grep -e clusterctrl -e br0 | grep -v -e 'is taking a long time' -e 'is taking longer than'", ``}, // on a busy machine
}

var nodeQuestions = []question{
	{"grep -E '^(TYPE|ID)=' /etc/default/clusterctrl", `TYPE=node\nID=NUMBER\n`},
	{"systemctl is-enabled serial-getty@ttyGS0.service clusterctrl-composite.service", `enabled\nenabled\n`},
	{"systemctl is-enabled clusterctrl-init.service clusterctrl-rpiboot.service clusterctrl-disk.path clusterctrl-clock.service", `disabled\ndisabled\ndisabled\ndisabled\n`},
	// Those before are for other Pis than a Zero.
	{"grep -E '^(dtoverlay=dwc2|#?otg_mode)' /boot/firmware/config.txt", `(?s).*dtoverlay=dwc2,dr_mode=peripheral\n#otg_mode=1 # Controller only\notg_mode=0\n`},
	{"cat /etc/issue", `(?s).*4\{usb0\}.*`},
	{"cat /etc/sysctl.d/90-clusterctrl.conf; sysctl -n net.ipv4.ip_forward", `#net.ipv4.ip_forward=1 # ClusterCTRL\n0\n`},
	{"cat /etc/exports /etc/hosts.allow 2>/dev/null | grep -c 172.19.180", `0\n`},
	// The gadget is a real one, on a device controller that the kernel plays: the
	// emulated board has none.
	{"systemctl is-active clusterctrl-composite.service serial-getty@ttyGS0.service", `active\nactive\n`},
	{"cat /sys/class/net/usb0/address", `00:22:82:ff:ff:[0-9a-f]{2}\n`},
	{"until ip -4 -o address show usb0 | grep -o ' 172.19.181.NUMBER/24'; do sleep 0.1; done", ` 172\.19\.181\.NUMBER/24\n`},
	{"cat /sys/kernel/config/usb_gadget/ClusterCTRL/strings/0x409/serialnumber", `NUMBER\n`},
}

var controllerQuestions = []question{
	{"systemctl is-enabled serial-getty@ttyGS0.service clusterctrl-composite.service", `disabled\ndisabled\n`},
	{"systemctl is-enabled clusterctrl-init.service clusterctrl-disk.path clusterctrl-clock.service", `enabled\nenabled\nenabled\n`},
	{"systemctl is-active clusterctrl-init.service clusterctrl-clock.service", `active\nactive\n`},
	{"grep -E '^(dtoverlay=dwc2|#?otg_mode)' /boot/firmware/config.txt", `(?s).*dtoverlay=dwc2,dr_mode=host\notg_mode=1 # Controller only\notg_mode=0\n`},
	{"cat /etc/issue", `(?s).*4\{br0\}.*`},
	{"ip -o link show type bridge | grep -o -E 'br(0|int):'", `br0:\nbrint:\n`},
	{"ip -4 -o addr show dev brint", `.*inet 172\.19\.180\.254/24 .*\n`},
	{"grep -c nfs/p /etc/exports", `252\n`},
	{"head -c 16 /dev/$(lsblk -no pkname $(findmnt -no SOURCE /))p3", `condensed image\n`}, // for nodes without cards
	{"stat -c '%G %a' /dev/gpiochip0", `gpio 660\n`},                                       // whose members may switch a ClusterHAT v1
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
	base.DHCPCD: {"grep '#ClusterCTRL' /etc/dhcpcd.conf", `static ip_address=172\.19\.181\.NUMBER/24 #ClusterCTRL\n`},
	base.Trixie: {"cd /etc/NetworkManager/system-connections; stat -c '%a %U' clusterctrl-usb0.nmconnection; grep ^address clusterctrl-usb0.nmconnection",
		`600 root\naddress1=172\.19\.181\.NUMBER/24\n`},
}

// What udev itself finds wrong with the rules, in releases whose udev tells.
var verdicts = map[string][]question{
	base.Trixie: {{"udevadm verify --no-summary /etc/udev/rules.d/90-clusterctrl*.rules && echo right", `right\n`}},
}

// A trial is one card: what it is to be, and what was done to it before it is booted.
type trial struct {
	release string
	kernel  string // empty for the release's own
	custom  customisation
	role    string
}

// backports is the newest kernel that Debian has for a release.
const backports = "-backports"

func (t trial) String() string {
	return strings.ReplaceAll(strings.Join([]string{t.release + t.kernel, string(t.custom), t.role}, "/"), "//", "/")
}

// trials are those that run with -all. Nodes have names of each length.
func trials() []trial {
	var all []trial
	for _, role := range []string{"p1", "p16", "p252", "cnat"} {
		all = append(all, trial{base.Bookworm, "", "", role}, trial{base.Trixie, "", "", role})
	}
	for _, role := range []string{"p7", "cbridge"} {
		all = append(all, trial{base.DHCPCD, "", "", role})
		for _, custom := range []customisation{"", firstrun, customTOML} {
			all = append(all, trial{base.Bookworm, "", custom, role})
		}
		for _, kernel := range []string{"", backports} {
			all = append(all, trial{base.Trixie, kernel, "", role}, trial{base.Trixie, kernel, cloudinit, role})
		}
	}
	return all
}

// usual are those that run without -all: the first with -short, the others without.
// Trixie takes twice as long as Bookworm, whatever its kernel.
var usual = []trial{
	{base.Bookworm, "", "", "p252"},
	{base.Bookworm, "", firstrun, "p7"},
	{base.Bookworm, "", customTOML, "cbridge"},
	{base.Trixie, backports, cloudinit, "p7"},
}

// TestRoles boots cards until each is an ordinary system, and asks that what it is. No
// two are the same machine.
func TestRoles(t *testing.T) {
	tried := usual[1:]
	switch {
	case *all:
		tried = trials()
	case testing.Short():
		tried = usual[:1]
	}
	images, secrets := map[string]string{}, makeSecrets(t)
	var mu sync.Mutex // of seen
	seen := map[string]trial{}
	for _, tt := range tried {
		// A controller's card also has an image for nodes without cards.
		kind, args := "-p1.img", []string{"--nodes", "1"}
		if !strings.HasPrefix(tt.role, "p") {
			kind, args = "-CBRIDGE.img", []string{"--with-nodes", "4"}
		}
		if images[tt.release+kind] == "" {
			images[tt.release+kind] = build(t, base.Path(t, tt.release), kind, append(args, "--no-nat")...)
		}
		image := images[tt.release+kind]
		t.Run(tt.String(), func(t *testing.T) {
			t.Parallel() // a machine uses one processor
			card := cardFor(t, image, tt.role, func(tree *rootfs.Image) error {
				return errors.Join(letIn(tree), tt.chooseKernel(tree), tt.custom.apply(tree, secrets))
			})
			enlarge(t, card)
			m, ctx := newMachine(t, lab.Config{Model: "raspi3b", Image: card, InPlace: true})
			b := bootOften(t, ctx, m, tt)
			b.ask(t, ctx, tt.questions())
			for _, command := range []string{"cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", diskID} {
				id := b.run(t, ctx, command)
				mu.Lock()
				other, ok := seen[id]
				seen[id] = tt
				mu.Unlock()
				if ok {
					t.Errorf("%s: %q, as %v has", command, id, other)
				}
			}
		})
	}
}

// chooseKernel has the firmware start the kernel.
func (tt trial) chooseKernel(tree *rootfs.Image) error {
	if tt.kernel == "" {
		return nil
	}
	name := path.Join(path.Dir(tree.CommandLine()), "config.txt")
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	return tree.WriteFile(name, fmt.Appendf(text, "\n[all]\nkernel=kernel8%s.img\n", tt.kernel), 0o755)
}

// enlarge makes a card at least twice as large as the image: a first boot grows the root.
// QEMU's cards have a power of two.
func enlarge(t *testing.T, card string) {
	t.Helper()
	info, err := os.Stat(card)
	if err == nil {
		err = os.Truncate(card, 1<<bits.Len64(uint64(2*info.Size()-1)))
	}
	if err != nil {
		t.Fatal(err)
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

// giveTime gives services and devices the time that they may need on a busy machine,
// whatever they ask for themselves. systemctl gives systemd 25 seconds for an answer.
func giveTime(tree *rootfs.Image) error {
	return writeFiles(tree, map[string]string{
		"etc/systemd/system/service.d/test.conf": "[Service]\nTimeoutStartSec=infinity\nWatchdogSec=0\n",
		"etc/systemd/system.conf.d/test.conf":    "[Manager]\nDefaultTimeoutStartSec=infinity\nDefaultDeviceTimeoutSec=infinity\nDefaultEnvironment=SYSTEMD_BUS_TIMEOUT=1h\n",
	})
}

// letIn logs root in on the serial console, has the kernel play a USB device controller,
// which the emulated board lacks, and makes systemd wait as long as it takes.
func letIn(tree *rootfs.Image) error {
	return errors.Join(giveTime(tree), writeFiles(tree, map[string]string{
		"etc/systemd/system/serial-getty@ttyS1.service.d/test.conf": "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I linux\n",
		"etc/modules-load.d/test.conf":                              "dummy_hcd\n",
	}))
}

// writeFiles writes files, and makes the directories that they are in.
func writeFiles(tree *rootfs.Image, files map[string]string) error {
	for name, text := range files {
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

// bootOften boots a new card: for ours, for the vendor's first boot and for Imager's
// script where these are boots of their own, and to a shell.
func bootOften(t *testing.T, ctx context.Context, m *lab.Machine, tt trial) system {
	t.Helper()
	restarts(t, ctx, boot(t, ctx, m), "clusterctrl: change files", "clusterctrl: restart")
	if tt.release != base.Trixie {
		restarts(t, ctx, boot(t, ctx, m))
	}
	if tt.custom == firstrun {
		restarts(t, ctx, boot(t, ctx, m))
	}
	b := boot(t, ctx, m)
	for _, text := range []string{tt.custom.name(tt.role) + " login: root (automatic login)", "# "} {
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
		t.Log(s.run(t, ctx, "systemctl --failed --no-pager; journalctl -b -p warning --no-pager; "+
			"grep -A 20 -e WARN -e ERROR -e Traceback /var/log/cloud-init.log"))
	}
}

func (tt trial) questions() []question {
	kind := slices.Concat(controllerQuestions, kindQuestions[tt.role])
	number, isNode := strings.CutPrefix(tt.role, "p")
	if isNode {
		kind = append(slices.Clone(nodeQuestions), fallback[tt.release])
	}
	words := strings.NewReplacer("ROLE", tt.role, "NUMBER", number, "NAME", tt.custom.name(tt.role))
	var all []question
	for _, q := range slices.Concat(questions, kind, verdicts[tt.release], tt.custom.questions(tt.role)) {
		all = append(all, question{words.Replace(q.command), words.Replace(q.want)})
	}
	return all
}
