package base

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// An image is a base image with what sfdisk says of its two partitions.
type image struct {
	path       string
	label      string // sfdisk's dump
	boot, root int64  // where the partitions start, in bytes
}

// run returns what a program prints, or fails the test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		name = path
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s\n(test/tools.sh installs what is missing)", name, args, err, out)
	}
	return string(out)
}

func open(t *testing.T, release string) image {
	t.Helper()
	img := image{path: Path(t, release)}
	img.label = run(t, "sfdisk", "--dump", img.path)
	var starts []int64
	for line := range strings.Lines(img.label) {
		if _, rest, ok := strings.Cut(line, "start="); ok {
			first, _, _ := strings.Cut(rest, ",")
			sectors, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			starts = append(starts, sectors*512)
		}
	}
	if len(starts) != 2 {
		t.Fatalf("%d partitions, want 2:\n%s", len(starts), img.label)
	}
	img.boot, img.root = starts[0], starts[1]
	return img
}

// debugfs answers a request about the root file system.
func (img image) debugfs(t *testing.T, request string) string {
	t.Helper()
	return run(t, "debugfs", "-R", request, img.path+"?offset="+strconv.FormatInt(img.root, 10))
}

// bootFile returns a file of the boot partition.
func (img image) bootFile(t *testing.T, name string) string {
	t.Helper()
	return run(t, "mtype", "-i", img.path+"@@"+strconv.FormatInt(img.boot, 10), "::"+name)
}

func releases(t *testing.T, test func(t *testing.T, img image)) {
	for _, release := range []string{Bookworm, DHCPCD, NFS, Trixie} {
		t.Run(release, func(t *testing.T) { test(t, open(t, release)) })
	}
}

func TestFileSystemsAreClean(t *testing.T) {
	releases(t, func(t *testing.T, img image) {
		run(t, "e2fsck", "-fn", img.path+"?offset="+strconv.FormatInt(img.root, 10))
		boot := filepath.Join(t.TempDir(), "boot")
		run(t, "dd", "if="+img.path, "of="+boot, "bs=1M", "conv=sparse",
			"skip="+strconv.FormatInt(img.boot>>20, 10), "count="+strconv.FormatInt((img.root-img.boot)>>20, 10))
		run(t, "fsck.fat", "-n", boot)
	})
}

// The sizes, types and names that Raspberry Pi OS has.
func TestLayout(t *testing.T) {
	releases(t, func(t *testing.T, img image) {
		if info, err := os.Stat(img.path); err != nil || info.Size() != 2<<30 {
			t.Errorf("image of %d bytes, %v; want 2 GiB", info.Size(), err)
		}
		_, after, _ := strings.Cut(img.label, "label-id: 0x")
		id, _, _ := strings.Cut(after, "\n")
		for _, want := range []string{"label: dos", "size=     1048576, type=c", "type=83"} {
			if !strings.Contains(img.label, want) {
				t.Errorf("label without %q:\n%s", want, img.label)
			}
		}
		if line := img.bootFile(t, "cmdline.txt"); !strings.Contains(line, " root=PARTUUID="+id+"-02 ") {
			t.Errorf("cmdline.txt = %q, want disk id %s", line, id)
		}
		if fstab := img.debugfs(t, "cat /etc/fstab"); !strings.Contains(fstab, "\nPARTUUID="+id+"-01  /boot/firmware  vfat") {
			t.Errorf("fstab = %q, want disk id %s", fstab, id)
		}
		if super := img.debugfs(t, "show_super_stats -h"); strings.Contains(super, "64bit") || !strings.Contains(super, "metadata_csum") {
			t.Errorf("features of the root:\n%s", super)
		}
	})
}

// What tells one release from the other, and what first boots of ours rely on.
func TestFiles(t *testing.T) {
	for _, tt := range []struct{ release, request, want string }{
		{Bookworm, "cat /usr/lib/os-release", "VERSION_CODENAME=bookworm\n"},
		{Bookworm, "stat /usr/sbin/dhclient", "Type: regular"},
		{Bookworm, "stat /usr/sbin/ifup", "Mode:  0755"},
		{Bookworm, "stat /usr/lib/raspberrypi-sys-mods/firstboot", "Mode:  0755"},
		{Bookworm, "stat /usr/lib/raspberrypi-sys-mods/imager_custom", "Mode:  0755"},
		{Bookworm, "stat /usr/lib/userconf-pi/userconf", "Mode:  0755"},
		{Bookworm, "stat /boot/firstrun.sh", "Fast link dest: \"firmware/firstrun.sh\""},
		{Bookworm, "stat /etc/machine-id", "Size: 0\n"},
		{NFS, "stat /usr/sbin/exportfs", "Mode:  0755"},
		{NFS, "stat /usr/lib/systemd/system/nfs-server.service", "Mode:  0644"},
		{NFS, "stat /etc/systemd/system/multi-user.target.wants/nfs-server.service", "Fast link dest: \"/lib/systemd/system/nfs-server.service\""},
		{DHCPCD, "stat /usr/sbin/dhcpcd", "Mode:  0755"},
		{DHCPCD, "stat /usr/sbin/dhclient", "File not found"},
		{DHCPCD, "ls /etc/dhcp", "File not found"},
		{DHCPCD, "stat /etc/systemd/system/multi-user.target.wants/dhcpcd.service", "Fast link dest: \"/lib/systemd/system/dhcpcd.service\""},
		{Trixie, "cat /usr/lib/os-release", "VERSION_CODENAME=trixie\n"},
		{Trixie, "stat /usr/sbin/NetworkManager", "Type: regular"},
		{Trixie, "stat /usr/sbin/netplan", "Type: symlink"},
		{Trixie, "stat /usr/bin/cloud-init", "Type: regular"},
		{Trixie, "cat /etc/cloud/cloud.cfg", "cloud_config_modules:\n - raspberry_pi\n"},
		{Trixie, "stat /usr/bin/rpi-usb-gadget", "Mode:  0755"},
		{Trixie, "cat /etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----\n"},
		{Trixie, "cat /etc/machine-id", "uninitialized\n"},
		{Trixie, "stat /usr/lib/python3/dist-packages/cloudinit", "Type: directory"},
	} {
		t.Run(tt.release+" "+tt.request, func(t *testing.T) {
			if got := open(t, tt.release).debugfs(t, tt.request); !strings.Contains(got, tt.want) {
				t.Errorf("%s\nwant %q in it", got, tt.want)
			}
		})
	}
}

// With keys or a password in the base, all nodes would have the same ones.
func TestNoSecrets(t *testing.T) {
	releases(t, func(t *testing.T, img image) {
		if keys := img.debugfs(t, "ls -l /etc/ssh"); strings.Contains(keys, "ssh_host") || !strings.Contains(keys, "sshd_config") {
			t.Errorf("/etc/ssh:\n%s\nwant no host key", keys)
		}
		shadow := img.debugfs(t, "cat /etc/shadow")
		for _, locked := range []string{"root:*:", "\npi:!:"} {
			if !strings.Contains(shadow, locked) {
				t.Errorf("shadow:\n%s\nwant %q", shadow, locked)
			}
		}
	})
}

func TestPrograms(t *testing.T) {
	releases(t, func(t *testing.T, img image) {
		name := filepath.Join(t.TempDir(), "busybox")
		img.debugfs(t, "dump /usr/lib/systemd/systemd "+name)
		program, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		if program.Machine != elf.EM_AARCH64 {
			t.Errorf("systemd is for %v", program.Machine)
		}
	})
}

// The kernel's modules that gadgets, controllers and NFS roots are made with.
func TestModules(t *testing.T) {
	releases(t, func(t *testing.T, img image) {
		var versions []string
		for _, field := range strings.Fields(img.debugfs(t, "ls -l /usr/lib/modules")) {
			if strings.HasSuffix(field, "-arm64") {
				versions = append(versions, field)
			}
		}
		if want := map[bool]int{true: 2, false: 1}[strings.Contains(img.path, Trixie)]; len(versions) != want {
			t.Errorf("kernels %q, want %d", versions, want)
		}
		for _, version := range versions {
			checkModules(t, version, img.debugfs(t, "cat /usr/lib/modules/"+version+"/modules.dep"))
		}
	})
}

func checkModules(t *testing.T, version, have string) {
	t.Helper()
	for _, name := range []string{
		"libcomposite", "usb_f_rndis", "usb_f_ncm", "usb_f_ecm", "usb_f_acm", "dummy_hcd", "usbip-vudc", "vhci-hcd",
		"rndis_host", "cdc_ncm", "cdc_ether", "cdc-acm", "dwc2", "i2c-tiny-usb", "8021q", "bridge", "nfs", "vfat", "ext4",
	} {
		if !strings.Contains(have, "/"+name+".ko") {
			t.Errorf("no module %s in %s", name, version)
		}
	}
}
