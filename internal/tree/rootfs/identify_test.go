package rootfs

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// Machines of ELF headers, as they stand there.
const (
	arm     = "\x28\x00"
	aarch64 = "\xb7\x00"
	amd64   = "\x3e\x00"
)

// system returns the files by which a system is known: those that all systems have, with
// changes. An empty text takes a file away.
func system(changes map[string]string) fstest.MapFS {
	files := map[string]string{
		"etc/os-release":          "PRETTY_NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n",
		"etc/fstab":               "PARTUUID=1-01  /boot/firmware  vfat  defaults  0 2\nPARTUUID=1-02  /  ext4  defaults  0 1\n",
		"bin/sh":                  "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00" + aarch64,
		"usr/sbin/NetworkManager": "x",
		"etc/systemd/system/multi-user.target.wants/NetworkManager.service": "x",
	}
	tree := fstest.MapFS{}
	for _, set := range []map[string]string{files, changes} {
		for name, text := range set {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
			if text == "" {
				delete(tree, name)
			}
		}
	}
	return tree
}

// Files of older systems.
var (
	elf32    = "\x7fELF\x01\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00" + arm
	oldFstab = "proc /proc proc defaults 0 0\nPARTUUID=1-01  /boot  vfat  defaults  0 2\n"
	dhcpcd   = map[string]string{
		"usr/sbin/NetworkManager": "", "etc/systemd/system/multi-user.target.wants/NetworkManager.service": "",
		"etc/dhcpcd.conf": "x", "etc/systemd/system/multi-user.target.wants/dhcpcd.service": "x",
		"etc/dhcp/dhclient.conf": "x", "etc/network/interfaces": "x",
	}
)

func with(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// TestIdentify has a system of each release, and of each way to be in doubt.
func TestIdentify(t *testing.T) {
	bookworm := OS{Release: "bookworm", Arch: ARM64, Flavour: Lite, BootDir: "boot/firmware", Network: NetworkManager}
	change := func(f func(*OS)) OS { s := bookworm; f(&s); return s }
	for _, tt := range []struct {
		name    string
		changes map[string]string
		want    OS
	}{
		{"bookworm", nil, bookworm},
		{"buster", with(dhcpcd, map[string]string{
			"etc/os-release": "VERSION_ID=\"10\"\nID=raspbian\n", "bin/sh": elf32, "etc/fstab": oldFstab,
			"etc/rpi-issue": "Raspberry Pi reference 2020-02-13\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, 5f884374b6ac6e155330c58caa1fb7249b8badf1, stage4\n",
		}), OS{"buster", ARMHF, Standard, "boot", DHCPCD, false, time.Date(2020, 2, 13, 0, 0, 0, 0, time.UTC)}},
		{"bullseye", with(dhcpcd, map[string]string{"etc/os-release": "VERSION_ID='11'\nID=debian\n", "etc/fstab": oldFstab}),
			OS{"bullseye", ARM64, Lite, "boot", DHCPCD, false, time.Time{}}},
		{"trixie", map[string]string{"etc/os-release": "VERSION_ID=\"13\"\nID=debian\n", "usr/bin/cloud-init": "x"},
			change(func(s *OS) { s.Release, s.CloudInit = "trixie", true })},
		{"armhf", map[string]string{"etc/os-release": "ID=raspbian\nVERSION_ID=\"12\"\n", "bin/sh": elf32}, change(func(s *OS) { s.Arch = ARMHF })},
		{"full", map[string]string{"etc/rpi-issue": "..., stage5\n"}, change(func(s *OS) { s.Flavour = Full })},
		{"full by its packages", map[string]string{"var/lib/dpkg/status": "Package: lightdm\nStatus: x\n\nPackage: libreoffice\n"}, change(func(s *OS) { s.Flavour = Full })},
		{"standard by its packages", map[string]string{"var/lib/dpkg/status": "Package: adduser\n\nPackage: raspberrypi-ui-mods\n"}, change(func(s *OS) { s.Flavour = Standard })},
		{"lite by its packages", map[string]string{"var/lib/dpkg/status": "Package: adduser\n"}, bookworm},
		{"boot by its files", map[string]string{"etc/fstab": "", "boot/cmdline.txt": "x"}, change(func(s *OS) { s.BootDir = "boot" })},
		{"dhcpcd there but off", map[string]string{"etc/dhcpcd.conf": "x"}, bookworm},
		{"NetworkManager there but off", with(dhcpcd, map[string]string{"usr/sbin/NetworkManager": "x"}), change(func(s *OS) { s.Network = DHCPCD })},
		{"ifupdown", with(dhcpcd, map[string]string{"etc/dhcpcd.conf": ""}), change(func(s *OS) { s.Network = IfUpDown })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Identify(system(tt.changes)); err != nil || got != tt.want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestIdentifyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"no os-release", "etc/os-release", "", "no etc/os-release in the root partition: want a Raspberry Pi OS image"},
		{"ubuntu", "etc/os-release", "ID=ubuntu\nVERSION_ID=\"12\"\n", `the system is "ubuntu": want raspbian or debian`},
		{"stretch", "etc/os-release", "ID=raspbian\nVERSION_ID=\"9\"\nVERSION_CODENAME=stretch\n", `version "9" stretch: want 10 to 13, Buster to Trixie`},
		{"sid", "etc/os-release", "ID=debian\nVERSION_CODENAME=sid\n", `version "" sid: want 10 to 13`},
		{"no shell", "bin/sh", "", "no bin/sh in the root partition"},
		{"amd64", "bin/sh", "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00" + amd64, "bin/sh is built for ELF machine 62: want a system for ARM (40) or AArch64 (183)"},
		{"a script for a shell", "bin/sh", "#!/bin/busybox sh\n# more than a header\n", "bin/sh is no ELF program: want a system for ARM or AArch64"},
		{"a header cut off", "bin/sh", "\x7fELF\x02\x01\x01", "bin/sh is no ELF program: want a system for ARM or AArch64"},
		{"no boot partition", "etc/fstab", "PARTUUID=1-02 / ext4 defaults 0 1\n", "etc/fstab mounts nothing at /boot or /boot/firmware"},
		{"no network", "usr/sbin/NetworkManager", "", "no network program that we know is enabled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Identify(system(map[string]string{tt.file: tt.text}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
