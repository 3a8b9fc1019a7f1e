package gadget

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Where the machine has udev's parts.
const (
	udevadm   = "bin/udevadm"
	rulesDir  = "lib/udev/rules.d"
	linksDir  = "lib/systemd/network"
	udevRules = "etc/udev/rules.d/90-clusterctrl.rules"
)

// udevFiles are systemd-udevd as this machine has it, with the rules that name
// links and ports, and a controller's rules: where they are in the virtual
// machine and where they come from.
func udevFiles(t *testing.T) map[string]string {
	files := map[string]string{udevRules: controllerRules(t)}
	libraries, err := exec.Command("ldd", "/"+udevadm).Output()
	if err != nil {
		t.Fatalf("ldd /%s: %v (apt-get install udev libc-bin)", udevadm, err)
	}
	names := regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1)
	files["etc/group"] = groups(t)
	names = append(names, "/"+udevadm, "/etc/passwd")
	names = append(names, glob("/lib/*/libkmod.so.2")...) // newer ones look for it when they need it
	for _, name := range []string{
		rulesDir + "/50-udev-default.rules", rulesDir + "/60-serial.rules", rulesDir + "/75-net-description.rules",
		rulesDir + "/80-net-setup-link.rules", linksDir + "/73-usb-net-by-mac.link", linksDir + "/99-default.link",
	} {
		names = append(names, "/"+name)
	}
	for _, name := range names {
		if !isThere(name) {
			t.Fatalf("no %s (apt-get install udev)", name)
		}
		files[strings.TrimPrefix(name, "/")] = name
	}
	return files
}

// groups are those of this machine, and those that Raspberry Pi OS has besides and
// our rules refer to.
func groups(t *testing.T) string {
	return write(t, []byte(strings.TrimSuffix(read("/etc/group"), "\n")+"\ni2c:x:994:\ngpio:x:993:\n"))
}

// controllerRules writes the rules of a controller's image to a file.
func controllerRules(t *testing.T) string {
	s := recipe.System{
		OS:       rootfs.OS{Release: "bookworm", Arch: rootfs.ARM64, BootDir: "boot/firmware", Network: rootfs.NetworkManager},
		Settings: recipe.Settings{Gadget: node.RNDIS},
	}
	for _, e := range recipe.Controller(s, nil) {
		if w, ok := e.(edit.WriteFile); ok && w.Name == udevRules {
			return write(t, []byte(w.Data))
		}
	}
	t.Fatalf("no edit writes %s", udevRules)
	return ""
}

const udevLog = "/tmp/udev.log"

// startUdev has systemd-udevd run until the test ends.
func startUdev(t *testing.T) {
	if err := os.MkdirAll("/run", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"/" + udevadm}, glob("/lib*/*.so*", "/lib*/*/*.so*")...) {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	log, err := os.Create(udevLog)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	daemon := exec.CommandContext(ctx, "/"+udevadm)
	daemon.Args = []string{"systemd-udevd"} // it is what it is called
	daemon.Env = append(os.Environ(), "NOTIFY_SOCKET=/run/notify", "SYSTEMD_LOG_TARGET=console")
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		daemon.Wait() // it was killed
		log.Close()
		if t.Failed() {
			t.Logf("systemd-udevd:\n%s", read(udevLog))
		}
	})
	for buf := make([]byte, 4096); ; {
		n, err := ready.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			if said := read(udevLog); strings.Contains(said, udevRules+":") { // and a line's number
				t.Errorf("systemd-udevd complains about our rules:\n%s", said)
			}
			return
		}
	}
}

func glob(patterns ...string) (names []string) {
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			panic(err)
		}
		names = append(names, found...)
	}
	return names
}

// twins is about two nodes that claim one number: its names stay with the first.
func twins(t *testing.T) {
	settle(t, 7, node.ECM, "UDC=dummy_udc.0")
	mustStart(t, Started)
	first := findDevice(t, typeNode, 7)
	tree := configFS(Options{}.withDefaults().gadgets())
	parts := append(gadgetOf(settingsOf(7, node.ECM)), part{attribute, udcFile, "dummy_udc.1"})
	for _, p := range parts {
		p.name = strings.Replace(p.name, top, "second", 1)
		if p.kind == link {
			p.value = strings.Replace(p.value, top, "second", 1)
		}
		if err := p.make(tree); err != nil {
			t.Fatal(err)
		}
	}
	second := device{dir: "/sys/bus/usb/devices/2-1"}
	await(t, "udev's word on the second", func() bool {
		second.look()
		return second.card != "" && second.tty != "" &&
			isThere("/run/udev/data/n"+read("/sys/class/net/"+second.card+"/ifindex")) &&
			isThere("/run/udev/data/c"+read("/sys/class/tty/"+second.tty+"/dev"))
	})
	complaint := fmt.Sprintf("from '%s' to 'ethpi7'", second.card)
	await(t, "an error in udev's log", func() bool { return strings.Contains(read(udevLog), complaint) })
	checkTwins(t, first, second)
	for _, trigger := range []string{
		"-c change /dev/" + first.tty + " /dev/" + second.tty,
		"-c add /dev/" + second.tty + " /dev/" + first.tty,
		"-c add /sys/class/net/" + second.card + " /sys/class/net/" + first.card,
	} {
		runUdevadm(t, "trigger "+trigger)
		runUdevadm(t, "settle") // trigger --settle hangs in this machine
		checkTwins(t, first, second)
	}
	mustStopBoth(t, tree)
}

// runUdevadm asks again where udevd hung up. It does so if it takes the connection only
// after udevadm has written to it: it then sees no sender ("Invalid sender uid 65534").
func runUdevadm(t *testing.T, words string) {
	t.Helper()
	for {
		out, err := exec.Command("/"+udevadm, strings.Fields(words)...).CombinedOutput()
		if err == nil {
			return
		}
		if !bytes.Contains(out, []byte("daemon to reply: Broken pipe")) {
			t.Fatalf("udevadm %s: %v\n%s", words, err, out)
		}
	}
}

// checkTwins wants all names of a number to be the first node's.
func checkTwins(t *testing.T, first, second device) {
	t.Helper()
	first.look()
	second.look()
	if first.card != "ethpi7" || second.card == "ethpi7" || second.card == "" {
		t.Errorf("links %s and %q; want the first to keep ethpi7", first.card, second.card)
	}
	if target, err := os.Readlink("/dev/ttypi7"); target != first.tty {
		t.Errorf("/dev/ttypi7 leads to %q, %v; want it to stay with %s", target, err, first.tty)
	}
	for tty, want := range map[string]bool{first.tty: true, second.tty: false} {
		names, err := exec.Command("/"+udevadm, "info", "-q", "symlink", "/dev/"+tty).CombinedOutput()
		if err != nil || slices.Contains(strings.Fields(string(names)), "ttypi7") != want {
			t.Errorf("%s: %v, links %s; want ttypi7 among them: %t", tty, err, names, want)
		}
	}
}

// mustStopBoth takes down the second gadget as the package does the first.
func mustStopBoth(t *testing.T, tree configFS) {
	t.Helper()
	for _, name := range []string{"configs/c.1/ecm.usb0", "configs/c.1/acm.usb0", "configs/c.1",
		"functions/ecm.usb0", "functions/acm.usb0", "strings/0x409", ""} {
		if err := tree.Remove(filepath.Join("second", name)); err != nil {
			t.Fatal(err)
		}
	}
	mustStop(t, Stopped)
}

// adminPort is about a node with a second serial port, as older images make them.
func adminPort(t *testing.T) {
	settle(t, 8, node.ECM, "UDC=dummy_udc.0")
	tree := configFS(Options{}.withDefaults().gadgets())
	for _, p := range append(gadgetOf(settingsOf(8, node.ECM)),
		part{directory, functions + "/acm.usb1", ""},
		part{link, config + "/acm.usb1", functions + "/acm.usb1"},
		part{attribute, udcFile, "dummy_udc.0"}) {
		if err := p.make(tree); err != nil {
			t.Fatal(err)
		}
	}
	d := findDevice(t, typeNode, 8)
	var admin string
	await(t, "udev's word on the second port", func() bool {
		admin = only(d.dir + "/*:1.4/tty/*")
		return knownToUdev(admin, 8)
	})
	runUdevadm(t, "settle")
	if target, err := os.Readlink("/dev/ttypi8a"); target != admin {
		t.Errorf("/dev/ttypi8a leads to %q, %v; want %s, the port of interface 04", target, err, admin)
	}
	mustStop(t, Stopped)
}
