package build_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/test/base"
)

// What makes the root of a node without a card differ from the controller's, in any
// release.
const changedInArchive = `
+ -rw-r--r-- 0:0 etc/NetworkManager/conf.d/90-clusterctrl.conf
+ -rw-r--r-- 0:0 etc/default/clusterctrl
+ -rw-r--r-- 0:0 etc/systemd/system/clusterctrl-name.service.d/other-name.conf
+ -rw-r--r-- 0:0 etc/systemd/system/networking.service.d/clusterctrl.conf
+ -rw-r--r-- 0:0 etc/systemd/timesyncd.conf.d/clusterctrl.conf
+ drwxr-xr-x 0:0 etc/systemd/system/clusterctrl-name.service.d
+ drwxr-xr-x 0:0 etc/systemd/system/networking.service.d
+ drwxr-xr-x 0:0 etc/systemd/timesyncd.conf.d
+ link etc/systemd/system/getty.target.wants/serial-getty@ttyGS0.service -> /usr/lib/systemd/system/serial-getty@.service
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-composite.service -> /usr/lib/systemd/system/clusterctrl-composite.service
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-name.service -> /usr/lib/systemd/system/clusterctrl-name.service
+ link etc/systemd/system/dphys-swapfile.service -> /dev/null
+ link etc/systemd/system/resize2fs_once.service -> /dev/null
+ link etc/systemd/system/rpi-resize.service -> /dev/null
+ link etc/systemd/system/rpi-usb-gadget.service -> /dev/null
- etc/modules-load.d/clusterctrl.conf
- etc/systemd/system/multi-user.target.wants/clusterctrl-clock.service
- etc/systemd/system/multi-user.target.wants/clusterctrl-disk.path
- etc/systemd/system/multi-user.target.wants/clusterctrl-init.service
- etc/udev/rules.d/90-clusterctrl.rules
~ etc/exports
~ etc/fstab
~ etc/hostname
~ etc/hosts
~ etc/hosts.allow
~ etc/hosts.deny
~ etc/issue
~ usr/lib/systemd/system-preset/50-clusterctrl.preset
~ usr/share/clusterctrl/default-clusterctrl
~ boot/firmware/cmdline.txt
~ boot/firmware/config.txt
~ boot/firmware/initramfs8
`

// What differs besides: the network, and what directories there were.
const (
	archivedFromBookworm = `
+ drwxr-xr-x 0:0 etc/NetworkManager
+ drwxr-xr-x 0:0 etc/NetworkManager/conf.d
~ etc/dhcp/dhclient-exit-hooks.d/clusterctrl
~ etc/network/interfaces.d/clusterctrl
`
	archivedFromTrixie = `
+ -rw-r--r-- 0:0 etc/cloud/cloud.cfg.d/99-clusterctrl-usbboot.cfg
- etc/NetworkManager/dispatcher.d/90-clusterctrl
- etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection
- etc/NetworkManager/system-connections/clusterctrl-brint.nmconnection
- etc/NetworkManager/system-connections/clusterctrl-eth0.nmconnection
`
)

// TestArchive unpacks the archive for nodes without cards by GNU tar, and compares it
// with the controller's image of the same build as the kernel and mtools show it.
func TestArchive(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			from, dir, root := publish(t, r, base.Path(t, r.name)), t.TempDir(), t.TempDir()
			output(t, clusterctrl(t, "build", from, "--nodes", "0", "--no-nat", "--usbboot", "--sums", "-o", dir))
			wantFiles(t, dir, r.prefix+"CBRIDGE.img", r.prefix+"usbboot.tar.zst", "SHA256SUMS")
			archive := filepath.Join(dir, r.prefix+"usbboot.tar.zst")
			if sums := readFile(t, filepath.Join(dir, "SHA256SUMS")); !strings.Contains(sums, sum(t, archive)+"  "+filepath.Base(archive)+"\n") {
				t.Errorf("SHA256SUMS lacks the archive's sum:\n%s", sums)
			}
			judge(t, "tar", "-x", "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "--acls", "-C", root, "-f", archive)
			controller := openDisk(t, filepath.Join(dir, r.prefix+"CBRIDGE.img"))
			controller.wantClean(t)
			before := withBoot(readTree(t, controller.mount(t)), readTree(t, controller.bootTree(t)))
			wantChanges(t, before, readTree(t, root), changedInArchive, r.archived)
			r.testInitramfs(t, root)
			testAdd(t, archive)
			testHook(t, root)
		})
	}
}

// withBoot is a tree with its boot partition mounted, whose files have the mode that the
// archive gives them.
func withBoot(root, boot tree) tree {
	for name, f := range boot {
		if name == "." {
			continue
		}
		f.mode, f.uid, f.gid = f.mode|0o755, 0, 0
		root["boot/firmware/"+name] = f
	}
	delete(root, "lost+found")
	return root
}

// testInitramfs has cpio unpack the initramfs of the kernel in the boot directory, and
// holds its modules against modprobe's list of what each needs.
func (r release) testInitramfs(t *testing.T, root string) {
	dir := t.TempDir()
	kernel := strings.TrimSpace(judge(t, "bash", "-c", "strings -n 20 "+root+`/boot/firmware/kernel8.img | sed -n 's/^Linux version \([^ ]*\) .*/\1/p' | head -n 1`))
	judge(t, "bash", "-c", fmt.Sprintf("cd %s && zcat %s/boot/firmware/initramfs8 | cpio --quiet -i", dir, root))
	var loaded []string
	entries, err := os.ReadDir(filepath.Join(dir, "modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		_, name, _ := strings.Cut(e.Name(), "-")
		loaded = append(loaded, name)
	}
	for _, module := range []string{"libcomposite", "usb_f_ecm", "usb_f_ncm", "usb_f_rndis", "usb_f_acm", "dwc2", "8021q", "nfsv4"} {
		for line := range strings.Lines(judge(t, "modprobe", "-d", root, "-S", kernel, "--show-depends", module)) {
			if words := strings.Fields(line); words[0] == "insmod" {
				name, _, _ := strings.Cut(filepath.Base(words[1]), ".ko")
				if !slices.Contains(loaded, strings.ReplaceAll(name, "-", "_")) {
					t.Errorf("%s: the initramfs lacks %s, for %s", kernel, name, module)
				}
			}
		}
	}
	at := slices.Index(loaded, "dwc2")
	if at < 0 {
		t.Fatal("no dwc2")
	}
	file := filepath.Join(dir, "dwc2.ko") // by whose end modinfo knows a file from a module's name
	judge(t, "cp", filepath.Join(dir, "modules", entries[at].Name()), file)
	if got := judge(t, "modinfo", "-F", "vermagic", file); !strings.HasPrefix(got, kernel+" ") {
		t.Errorf("dwc2 is for kernel %s, want %s", got, kernel)
	}
	testProgram(t, filepath.Join(dir, "init"), moduleRoot+"/bin/pi/usbroot-clusterctrl-arm64")
}

// testHook has the unpacked system run its kernel hook, as when a kernel was installed, with
// our program for this machine: what the initramfs was is what it becomes again. Of
// another kernel's flavour, nothing changes.
func testHook(t *testing.T, root string) {
	program, err := makeProgram()
	if err != nil {
		t.Fatal(err)
	}
	initramfs := filepath.Join(root, "boot/firmware/initramfs8")
	made := sum(t, initramfs)
	judge(t, "cp", program, filepath.Join(root, "usr/sbin/clusterctrl"))
	for release, changed := range map[string]bool{"6.99.0+rpt-rpi-v8": true, "6.99.0+rpt-rpi-v7": false} {
		writeFile(t, initramfs, "of the vendor's")
		vendors := sum(t, initramfs)
		judge(t, "chroot", root, "/etc/kernel/postinst.d/zz-clusterctrl", release, "/boot/vmlinuz-"+release)
		want := vendors
		if changed {
			want = made
		}
		if sum(t, initramfs) != want {
			t.Errorf("after the hook for %s: the initramfs is another one", release)
		}
	}
}

// onController runs a script on what the program takes for a controller: with other
// settings, and an empty /var/lib, in a mount namespace of its own.
const onController = `set -euo pipefail
mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir -p /var/lib/clusterctrl/{nfs,boot} /run/default
printf 'TYPE=c\nID=\n' >/run/default/clusterctrl && mount --bind /run/default /etc/default
`

// testAdd makes nodes of the archive on a controller, lists them, and takes one away.
func testAdd(t *testing.T, archive string) {
	program, err := makeProgram()
	if err != nil {
		t.Fatal(err)
	}
	said := judge(t, "unshare", "-m", "bash", "-c", onController+fmt.Sprintf(`
c() { %s usbboot "$@" -q; }
c add p5 p6 %s
cd /var/lib/clusterctrl/nfs
for n in 5 6; do grep -q "nfsroot=172.19.180.254:$PWD/p$n rw ip=172.19.180.$n:" p$n/boot/firmware/cmdline.txt && [ "$(cat p$n/etc/hostname)" = p$n ]; done
c list
! c add p5 %[2]s
before=$(cd p5 && find . -printf '%%p %%T@ %%i\n' | sort | sha256sum)
c init 5
[ "$before" = "$(cd p5 && find . -printf '%%p %%T@ %%i\n' | sort | sha256sum)" ] || echo "init changed what was right"
cp -a p5 p7 && c init 7 && cat p7/etc/hostname
! c doctor
c remove p5 && ls -A p5
! c init 5`, program, archive))
	for _, want := range []string{
		"\nNODE  SYSTEM ", "\np6    ", "p5 has a root already: remove it first, or replace it with --force", "\np7\n",
		"\nproblem  bridge brint: it is not there\n         restart ", "\nok       p7 identity\n",
		"\n/var/lib/clusterctrl/nfs/p5\n", "clusterctrl: p5 has no root: unpack one first, ",
	} {
		if !strings.Contains("\n"+said, want) {
			t.Errorf("the controller did not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "init changed") {
		t.Error("usbboot init changed a root that was right")
	}
}
