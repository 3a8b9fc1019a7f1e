package boot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"clusterctrl/internal/tree/rootfs"
	"clusterctrl/test/base"
)

// TestDisks runs one card's cluster: a controller, whose image is all that is written,
// and three nodes without cards, whose disks the controller serves. Only with -all.
func TestDisks(t *testing.T) {
	withAll(t)
	c := up(t, oneCard(t, 3), "--bare", "p1-p3")
	ctx := c.listen(t)
	controller := c.connect(t, "cnat")
	nodes := []shell{c.connect(t, "p1"), c.connect(t, "p2"), c.connect(t, "p3")}
	p1, p3 := nodes[0], nodes[2]
	controller.login(t, ctx)
	controller.until(t, ctx, "ls /dev/ClusterCTRL-*")
	controller.run(t, ctx, "clusterctrl on p1-p3")
	for _, s := range nodes {
		s.login(t, ctx)
		wantOnDisk(t, ctx, controller, s)
		s.run(t, ctx, "dpkg -i "+packageOnNodes)
	}
	restartNode(t, ctx, p1)
	wantOnDisk(t, ctx, controller, p1)
	p1.run(t, ctx, "dpkg -s greeting && test -e /usr/share/greeting")
	last := makeTrouble(t, ctx, c, controller, p1, "clusterctrl-disk")
	p1.run(t, ctx, "seq 1 "+last+" | cmp - /root/written")

	controller.run(t, ctx, "clusterctrl off p3")
	controller.until(t, ctx, "clusterctrl disk list | grep '^p3 .*idle'")
	controller.run(t, ctx, "clusterctrl disk reset p3 && clusterctrl on p3")
	p3.login(t, ctx)
	wantOnDisk(t, ctx, controller, p3)
	p3.run(t, ctx, "test ! -e /usr/share/greeting")

	written := writeUntilCut(t, ctx, c, nodes)
	c.do(t, "on", "cnat")
	controller.login(t, ctx)
	for _, s := range nodes {
		wantKept(t, ctx, controller, s.name, written[s.name])
	}
}

// packageOnNodes is a package that nodes can install without a network.
const packageOnNodes = "/root/greeting.deb"

// oneCard makes the image of a controller that has an image for nodes without cards. One
// can log in to all of them.
func oneCard(t *testing.T, nodes int) string {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join(dir, "2025-05-13-raspios-bookworm-arm64-lite.img")
	run(t, "cp", "--sparse=always", base.Path(t, base.Bookworm), from)
	change(t, from, func(tree *rootfs.Image) error {
		return errors.Join(addFirmware(tree), letInAll(tree), copyInto(tree, packageOnNodes[1:], greeting(t)))
	})
	image := build(t, from, "-CNAT.img", "--with-nodes", fmt.Sprint(nodes))
	enlarge(t, image) // the vendor's first boot extends the root
	return image
}

// greeting makes a package that has one file.
func greeting(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control":     "Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a file\n",
		"usr/share/greeting": "Good day\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "greeting.deb")
	run(t, "dpkg-deb", "--root-owner-group", "-b", dir, file)
	return file
}

// wantOnDisk wants a node that is up to be branded, and to run from the disk that the
// controller serves, of which the root has all.
func wantOnDisk(t *testing.T, ctx context.Context, controller, s shell) {
	t.Helper()
	if got := s.run(t, ctx, "hostname"); got != s.name+"\n" {
		t.Errorf("%s is called %s", s.name, got)
	}
	s.run(t, ctx, "findmnt -n -o SOURCE / | grep -x /dev/nbd0p2 && findmnt -n -o SOURCE /boot/firmware | grep -x /dev/nbd0p1")
	s.run(t, ctx, "test $(df -B 1 --output=size / | tail -n 1) -gt 6000000000")
	s.run(t, ctx, "clusterctrl verify "+s.name+" --root / -q")
	s.until(t, ctx, "ip -4 address show usb0.10 | grep -q 172.19.180."+s.name[1:]+"/24")
	controller.until(t, ctx, "ping -c 1 172.19.181."+s.name[1:])
	controller.run(t, ctx, "clusterctrl disk list | grep '^"+s.name+" .*connected'")
	if got := s.run(t, ctx, "systemctl --failed --plain --no-legend | grep -e clusterctrl -e ttyGS0 -e networking || true"); got != "" {
		t.Errorf("%s: %s%s", s.name, got, s.run(t, ctx, "journalctl -b -p warning --no-pager"))
	}
}

// restartNode has a node restart, until it has its shell again.
func restartNode(t *testing.T, ctx context.Context, s shell) {
	t.Helper()
	s.run(t, ctx, "touch /root/before /run/before")
	if err := s.Send("reboot"); err != nil {
		t.Fatal(err)
	}
	s.login(t, ctx)
	s.run(t, ctx, "test -e /root/before -a ! -e /run/before")
}

var flushed = regexp.MustCompile(`flushed ([0-9]+)\r?\n`)

// writeUntilCut has nodes write flushed numbers to /root/cut until the controller's power
// is cut, and theirs with it. It returns the last number that each said was flushed.
func writeUntilCut(t *testing.T, ctx context.Context, c cluster, nodes []shell) map[string]string {
	t.Helper()
	for _, s := range nodes {
		if err := s.Send(`i=0; while i=$((i+1)); echo $i >>/root/cut && sync /root/cut; do echo flushed $i; done`); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range nodes {
		if _, err := s.Expect(ctx, "flushed 30"); err != nil {
			t.Fatal(err)
		}
	}
	c.do(t, "cut", "cnat")
	written := map[string]string{}
	for _, s := range nodes {
		c.do(t, "cut", s.name)
		said, err := os.ReadFile(filepath.Join(t.ArtifactDir(), s.name))
		if err != nil {
			t.Fatal(err)
		}
		all := flushed.FindAllSubmatch(said, -1)
		written[s.name] = string(all[len(all)-1][1])
	}
	return written
}

// wantKept wants a node's disk to have all numbers up to the last that was flushed, and a
// file system that is whole once its journal is replayed.
func wantKept(t *testing.T, ctx context.Context, controller shell, name, last string) {
	t.Helper()
	t.Logf("%s wrote %s numbers before the cut", name, last)
	controller.run(t, ctx, "clusterctrl disk export "+name+" /root/export.img -q && losetup -P /dev/loop7 /root/export.img")
	controller.run(t, ctx, "e2fsck -fp /dev/loop7p2; test $? -le 1 && e2fsck -fn /dev/loop7p2")
	controller.run(t, ctx, "mount -o ro /dev/loop7p2 /mnt && seq 1 "+last+" >/root/want && head -n "+last+" /mnt/root/cut | cmp - /root/want; x=$?; umount /mnt; losetup -d /dev/loop7; rm /root/export.img; test $x = 0")
}
