package build_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a build changes in the root of any release, besides [perNode]. The units
// are enabled as a bridging controller's: only its first boot knows whether an
// image becomes a node. The server of boot files is off until somebody has an NFS
// root to serve.
const changedInAll = `
+ -rw-r--r-- 0:0 etc/exports
+ -rw-r--r-- 0:0 etc/modules-load.d/clusterctrl.conf
+ -rw-r--r-- 0:0 etc/sysctl.d/90-clusterctrl.conf
+ -rw-r--r-- 0:0 etc/udev/rules.d/90-clusterctrl-gadget.rules
+ -rw-r--r-- 0:0 etc/udev/rules.d/90-clusterctrl.rules
+ -rw-r--r-- 0:0 usr/lib/systemd/system-preset/50-clusterctrl.preset
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-clock.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-composite.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-disk.path
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-disk.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-hostkeys.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-init.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-name.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/clusterctrl-rpiboot.service
+ -rw-r--r-- 0:0 usr/lib/systemd/system/serial-getty@ttyGS0.service.d/10-clusterctrl.conf
+ -rw-r--r-- 0:0 usr/share/clusterctrl/default-clusterctrl
+ -rw-r--r-- 0:0 usr/share/clusterctrl/interfaces.bookworm.cbridge
+ -rw-r--r-- 0:0 usr/share/clusterctrl/interfaces.bookworm.cnat
+ -rw-r--r-- 0:0 usr/share/clusterctrl/interfaces.bookworm.p
+ -rw-r--r-- 0:0 usr/share/clusterctrl/interfaces.cbridge
+ -rw-r--r-- 0:0 usr/share/clusterctrl/interfaces.cnat
+ -rw-r--r-- 0:0 usr/share/clusterctrl/issue.c
+ -rw-r--r-- 0:0 usr/share/clusterctrl/issue.p
+ -rw-r--r-- 0:0 usr/share/clusterctrl/version
+ -rwxr-xr-x 0:0 usr/share/clusterctrl/usbroot-clusterctrl
+ -rwxr-xr-x 0:0 usr/sbin/clusterctrl
+ -rwxr-xr-x 0:0 usr/sbin/reconfig-clusterctrl
+ drwxr-xr-x 0:0 etc/initramfs
+ drwxr-xr-x 0:0 etc/initramfs/post-update.d
+ drwxr-xr-x 0:0 etc/minicom
+ drwxr-xr-x 0:0 usr/lib/systemd/system/serial-getty@ttyGS0.service.d
+ drwxr-xr-x 0:0 usr/share/clusterctrl
+ drwxr-xr-x 0:0 var/lib/clusterctrl
+ drwxr-xr-x 0:0 var/lib/clusterctrl/boot
+ drwxr-xr-x 0:0 var/lib/clusterctrl/nfs
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-clock.service -> /usr/lib/systemd/system/clusterctrl-clock.service
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-disk.path -> /usr/lib/systemd/system/clusterctrl-disk.path
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-hostkeys.service -> /usr/lib/systemd/system/clusterctrl-hostkeys.service
+ link etc/systemd/system/multi-user.target.wants/clusterctrl-init.service -> /usr/lib/systemd/system/clusterctrl-init.service
+ link etc/systemd/system/ssh.service.wants/clusterctrl-hostkeys.service -> /usr/lib/systemd/system/clusterctrl-hostkeys.service
+ link usr/bin/clusterctrl -> /usr/sbin/clusterctrl
+ link etc/initramfs/post-update.d/zz-clusterctrl -> /usr/sbin/clusterctrl
+ drwxr-xr-x 0:0 etc/kernel/postrm.d
+ link etc/kernel/postinst.d/zz-clusterctrl -> /usr/sbin/clusterctrl
+ link etc/kernel/postrm.d/zz-clusterctrl -> /usr/sbin/clusterctrl
+ link usr/sbin/clusterhat -> clusterctrl
+ link usr/sbin/composite-clusterctrl -> clusterctrl
+ link usr/sbin/usbboot-init -> clusterctrl
+ link usr/share/clusterctrl/reconfig-usbboot -> /usr/sbin/clusterctrl
+ link var/lib/clusterctrl/boot/bootcode.bin -> /boot/firmware/bootcode.bin
~ etc/hostname
~ etc/hosts
~ etc/hosts.allow
~ etc/hosts.deny
~ etc/issue
`

// What it changes besides for ifupdown with dhclient, and for NetworkManager and
// cloud-init. Trixie's ssh.service has wants already.
const (
	changedInBookworm = `
+ -rw-r--r-- 0:0 etc/dhcp/dhclient-enter-hooks.d/clusterctrl
+ -rw-r--r-- 0:0 etc/dhcp/dhclient-exit-hooks.d/clusterctrl
+ -rw-r--r-- 0:0 etc/network/interfaces.d/clusterctrl
+ drwxr-xr-x 0:0 etc/systemd/system/ssh.service.wants
~ etc/dhcp/dhclient.conf
`
	changedInTrixie = `
+ -rwxr-xr-x 0:0 etc/NetworkManager/dispatcher.d/90-clusterctrl
+ -rw------- 0:0 etc/NetworkManager/system-connections/clusterctrl-br0.nmconnection
+ -rw------- 0:0 etc/NetworkManager/system-connections/clusterctrl-brint.nmconnection
+ -rw------- 0:0 etc/NetworkManager/system-connections/clusterctrl-eth0.nmconnection
+ -rw------- 0:0 etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection
+ -rw-r--r-- 0:0 etc/cloud/cloud.cfg.d/99-clusterctrl.cfg
`
)

// perNode returns what a build adds for each of the 252 nodes there can be.
func perNode() string {
	var b strings.Builder
	for n := 1; n <= 252; n++ {
		fmt.Fprintf(&b, "+ -rw-r--r-- 0:0 etc/minicom/minirc.p%d\n", n)
		fmt.Fprintf(&b, "+ drwxr-xr-x 0:0 var/lib/clusterctrl/nfs/p%d\n", n)
	}
	return b.String()
}

// What a build changes in the boot partition.
const changedInBoot = `
+ -rw-r--r-- 0:0 clusterctrl-initramfs8
~ cmdline.txt
~ config.txt
`

// wantChanges compares two trees: lists of lines as [changes] makes them are all
// that may have become different.
func wantChanges(t *testing.T, before, after tree, lists ...string) {
	t.Helper()
	want := slices.DeleteFunc(strings.Split(strings.Join(lists, "\n"), "\n"), func(line string) bool { return line == "" })
	wantLines(t, changes(before, after), want)
}

// wantLines compares sets of lines, and shows what only one of them has.
func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	const few = 20
	missing := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return slices.Contains(got, line) })
	extra := slices.DeleteFunc(slices.Clone(got), func(line string) bool { return slices.Contains(want, line) })
	if len(missing)+len(extra) > 0 {
		t.Errorf("%d of %d lines are missing, such as\n%s\n%d are too many, such as\n%s", len(missing), len(want),
			strings.Join(missing[:min(few, len(missing))], "\n"), len(extra), strings.Join(extra[:min(few, len(extra))], "\n"))
	}
}

// wantTime checks that all files that were added or edited say that they were
// written then, in seconds since 1970.
func wantTime(t *testing.T, before, after tree, seconds int64) {
	t.Helper()
	var wrong []string
	for name, f := range after {
		if was, ok := before[name]; (!ok || was.content != f.content) && (f.mtime.Sec != seconds || f.mtime.Nsec != 0) {
			wrong = append(wrong, name)
		}
	}
	if len(wrong) > 0 {
		f := after[wrong[0]]
		t.Errorf("%d files have a wrong time: %s was written at %d.%09d, want %d", len(wrong), wrong[0], f.mtime.Sec, f.mtime.Nsec, seconds)
	}
}
