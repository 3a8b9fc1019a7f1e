package boot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/base"
)

// TestUSBBoot runs a controller and two nodes without cards, which get their boot files
// over virtual USB cables and have their systems on the controller. Only with -all.
func TestUSBBoot(t *testing.T) {
	withAll(t)
	c := up(t, usbBootImage(t), "--bare", "p5,p6")
	ctx := c.listen(t)
	controller, nodes := c.connect(t, "cnat"), []shell{c.connect(t, "p5"), c.connect(t, "p6")}
	controller.login(t, ctx)
	controller.until(t, ctx, "ls /dev/ClusterCTRL-*")
	controller.run(t, ctx, "clusterctrl usbboot add p5,p6 "+archiveOnController)
	wantPower(t, ctx, c, controller, nil, []string{"p5", "p6"})
	controller.run(t, ctx, "clusterctrl on p5 p6")
	for _, s := range nodes {
		s.login(t, ctx)
		wantUSBBooted(t, ctx, controller, s)
	}
	p5 := nodes[0]
	p5.run(t, ctx, "dpkg -i "+packageOnNodes)
	restartNode(t, ctx, p5)
	wantUSBBooted(t, ctx, controller, p5)
	p5.run(t, ctx, "dpkg -s greeting")
	last := makeTrouble(t, ctx, c, controller, p5, "nfs-server")
	controller.run(t, ctx, "seq 1 "+last+" | cmp - /var/lib/clusterctrl/nfs/p5/root/written")
	if err := p5.Send("poweroff"); err != nil {
		t.Fatal(err)
	}
	if _, err := p5.Expect(ctx, "reboot: Power down"); err != nil {
		t.Fatal(err)
	}
	controller.until(t, ctx, "test ! -e /sys/class/net/ethupi5 -a ! -e /dev/ttypi5")
	nodes[1].run(t, ctx, "test -e /etc/hostname")
	controller.run(t, ctx, "clusterctrl off p5 p6")
	wantPower(t, ctx, c, controller, nil, []string{"p5", "p6"})
}

// archiveOnController is where the controller has the archive of nodes without cards.
const archiveOnController = "/root/usbboot.tar"

// usbBootImage makes the image of a controller that has an NFS server, and the archive
// that its nodes' roots are unpacked from: a plain one, since an emulated processor takes
// minutes to decompress one. One can log in to all of them.
func usbBootImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join(dir, "2025-05-13-raspios-bookworm-arm64-lite.img")
	run(t, "cp", "--sparse=always", base.Path(t, base.NFS), from)
	change(t, from, func(tree *rootfs.Image) error {
		return errors.Join(addFirmware(tree), letInAll(tree), copyInto(tree, packageOnNodes[1:], greeting(t)))
	})
	unbranded := build(t, from, "-CBRIDGE.img", "--no-nat", "--nodes", "0", "--usbboot=tar", "--grow", "3G")
	archives, err := filepath.Glob(filepath.Join(filepath.Dir(unbranded), "*-usbboot.tar"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("archives: %q, %v; want one", archives, err)
	}
	archive, err := os.ReadFile(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	image := build(t, unbranded, "-CNAT.img", "--only", "cnat", "--branded")
	change(t, image, func(tree *rootfs.Image) error { return tree.WriteFile(archiveOnController[1:], archive, 0o644) })
	return image
}

// addFirmware adds the files of a Pi's firmware, which a node without a card asks for and
// the lab plays.
func addFirmware(tree *rootfs.Image) error {
	var errs []error
	for _, name := range []string{"bootcode.bin", "start.elf", "fixup.dat"} {
		errs = append(errs, tree.WriteFile("boot/firmware/"+name, []byte("the lab's "+name+"\n"), 0o755))
	}
	return errors.Join(errs...)
}

// wantUSBBooted wants a node that is up to be on its NFS root, and the controller to have
// it under the names of one that booted over USB.
func wantUSBBooted(t *testing.T, ctx context.Context, controller, s shell) {
	t.Helper()
	n := s.name[1:]
	if got := s.run(t, ctx, "hostname"); got != s.name+"\n" {
		t.Errorf("%s is called %s", s.name, got)
	}
	s.run(t, ctx, "grep '^172.19.180.254:/var/lib/clusterctrl/nfs/"+s.name+" / nfs4 rw,' /proc/mounts")
	s.run(t, ctx, "systemctl is-active multi-user.target")
	s.until(t, ctx, "ip -4 address show usb0 | grep -q 172.19.181."+n+"/24")
	s.run(t, ctx, "ip -4 address show usb0.10 | grep -q 172.19.180."+n+"/24")
	controller.until(t, ctx, fmt.Sprintf("test /sys/class/net/ethupi%[1]s/master -ef /sys/class/net/br0 -a /sys/class/net/ethupi%[1]s.10/master -ef /sys/class/net/brint -a -e /dev/ttypi%[1]s", n))
	controller.until(t, ctx, "ping -c 1 172.19.181."+n)
	if got := s.run(t, ctx, "systemctl --failed --plain --no-legend | grep -e clusterctrl -e ttyGS0 -e networking || true"); got != "" {
		t.Errorf("%s: %s%s", s.name, got, s.run(t, ctx, "journalctl -b -p warning --no-pager"))
	}
}

// makeTrouble has a node write numbers to /root/written, each of them flushed, while the
// service that has its root restarts, its plug is out for half a minute, and its controller
// restarts. It returns the last number, as text.
func makeTrouble(t *testing.T, ctx context.Context, c cluster, controller, s shell, service string) string {
	t.Helper()
	s.run(t, ctx, `(i=0; while [ ! -e /run/stop ]; do i=$((i+1)); echo $i >>/root/written; sync /root/written; done; echo $i >/run/last) >/dev/null 2>&1 &`)
	goesOn := func() {
		t.Helper()
		s.until(t, ctx, `n=$(wc -l </root/written); until [ $(wc -l </root/written) -gt $((n+5)) ]; do sleep 0.1; done`)
	}
	n := s.name[1:]
	goesOn()
	controller.run(t, ctx, "systemctl restart "+service)
	goesOn()
	c.do(t, "unplug", s.name)
	controller.until(t, ctx, "test ! -e /sys/class/net/ethupi"+n)
	controller.run(t, ctx, "sleep 30")
	c.do(t, "plug", s.name)
	controller.until(t, ctx, "test /sys/class/net/ethupi"+n+".10/master -ef /sys/class/net/brint")
	goesOn()
	if err := controller.Send("reboot"); err != nil {
		t.Fatal(err)
	}
	controller.login(t, ctx)
	goesOn()
	s.run(t, ctx, "touch /run/stop; until [ -s /run/last ]; do sleep 0.1; done")
	return strings.TrimSpace(s.run(t, ctx, "cat /run/last"))
}
