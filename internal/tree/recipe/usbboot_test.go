package recipe

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// read returns the text of a file, or what the error says.
func read(tree fs.FS, name string) string {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestUSBBoot makes a controller's image the root of a card-less node, by values that
// controllers of other makes know too.
func TestUSBBoot(t *testing.T) {
	for _, network := range networks {
		t.Run(string(network), func(t *testing.T) {
			s, tree := controllerImage(t, network)
			err := edit.Apply(tree, []edit.Edit{
				edit.WriteFile{Name: "etc/fstab", Data: "proc /proc proc defaults 0 0\nPARTUUID=1-01 /" + s.BootDir + " vfat defaults 0 2\nPARTUUID=1-02 / ext4 noatime 0 1\n#own\n"},
				edit.WriteFile{Name: s.BootDir + "/cmdline.txt", Data: "console=ttyGS0,115200 console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait resize clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl cbridge\n"},
			})
			if err != nil {
				t.Fatal(err)
			}
			apply(t, tree, USBBoot(s, 5))
			want := map[string]string{
				s.BootDir + "/cmdline.txt": "console=tty1 rootwait root=/dev/nfs nfsroot=172.19.180.254:/var/lib/clusterctrl/nfs/p5 rw ip=172.19.180.5:172.19.180.254::255.255.255.0:p5:usb0.10:static fsck.mode=skip clusterctrl.gadget=rndis\n",
				"etc/hostname":             "p5\n",
				"etc/fstab":                "proc /proc proc defaults 0 0\n#own\n172.19.180.254:/var/lib/clusterctrl/nfs/p5/boot/firmware /boot/firmware nfs defaults 0 0\n",
			}
			if s.BootDir == "boot" {
				want["etc/fstab"] = "proc /proc proc defaults 0 0\n#own\n"
			}
			for name, text := range want {
				if diff := cmp.Diff(text, read(tree, name)); diff != "" {
					t.Errorf("%s: -want +got:\n%s", name, diff)
				}
			}
			for name, part := range map[string]string{
				"etc/hosts":               "127.0.1.1\tp5\n",
				"etc/default/clusterctrl": "\nTYPE=usbboot\n",
				s.BootDir + "/config.txt": "\ndtoverlay=dwc2,dr_mode=peripheral\n",
				"etc/systemd/system/networking.service.d/clusterctrl.conf": "\nExecStop=\n",
			} {
				if got := read(tree, name); !strings.Contains(got, part) {
					t.Errorf("%s lacks %q:\n%s", name, part, got)
				}
			}
			once := contents(t, tree)
			apply(t, tree, USBBoot(s, 5))
			if diff := cmp.Diff(once, contents(t, tree)); diff != "" {
				t.Errorf("a second time: -before +after:\n%s", diff)
			}
		})
	}
}

func apply(t *testing.T, tree rootfs.Tree, edits []edit.Edit) {
	t.Helper()
	if err := edit.Apply(tree, edits); err != nil {
		t.Fatal(err)
	}
}

// TestUSBBootAnotherNode brands a copy of another node's root: it keeps the gadget that
// its owner chose, and nothing by which that node is known.
func TestUSBBootAnotherNode(t *testing.T) {
	s, tree := controllerImage(t, rootfs.NetworkManager)
	apply(t, tree, USBBoot(s, 5))
	apply(t, tree, []edit.Edit{
		edit.Setting{Name: inTree(node.SettingsFile), Key: "GADGET", Value: "ncm"},
		edit.WriteFile{Name: "etc/machine-id", Data: "0123456789abcdef0123456789abcdef\n"},
		edit.WriteFile{Name: "etc/ssh/ssh_host_ed25519_key", Data: "secret"},
	})
	apply(t, tree, USBBoot(s, 5)) // the same node again
	if got := read(tree, "etc/ssh/ssh_host_ed25519_key"); got != "secret" {
		t.Errorf("the host key of p5 as p5 again: %q", got)
	}
	apply(t, tree, USBBoot(s, 6))
	if got := read(tree, "etc/machine-id"); got != "" {
		t.Errorf("machine id of p6: %q", got)
	}
	if _, err := tree.Lstat("etc/ssh/ssh_host_ed25519_key"); err == nil {
		t.Error("p6 has the host key of p5")
	}
	line := read(tree, s.BootDir+"/cmdline.txt")
	if strings.Contains(line, "p5") || strings.Contains(line, "180.5:") || !strings.HasSuffix(line, " clusterctrl.gadget=ncm\n") || strings.Count(line, "ip=") != 1 {
		t.Errorf("command line of p6: %s", line)
	}
}

func TestKernels(t *testing.T) {
	tree := fstest.MapFS{}
	for _, release := range []string{
		"6.12.25+rpt-rpi-v6", "6.12.9+rpt-rpi-v8", "6.12.25+rpt-rpi-v8", "6.12.25+rpt-rpi-2712",
		"6.1.21-v7+", "6.1.21-v7l+", "6.12.34-arm64", "6.1.0-9-arm64",
	} {
		tree["lib/modules/"+release+"/kernel/fs/x.ko"] = &fstest.MapFile{}
	}
	tree["lib/modules/6.13.1+rpt-rpi-v8/modules.dep"] = &fstest.MapFile{} // without modules
	want := []Kernel{
		{"6.1.21-v7+", "initramfs7"}, {"6.1.21-v7l+", "initramfs7l"}, {"6.12.34-arm64", "initramfs8"},
		{"6.12.25+rpt-rpi-2712", "initramfs_2712"}, {"6.12.25+rpt-rpi-v6", "initramfs"},
	}
	wantKernels(t, tree, want)
	for release, want := range map[string]string{"6.1.21+": "initramfs", "5.10.103-v8+": "initramfs8", "4.19.97-v7l+": "initramfs7l"} {
		if got := InitramfsName(release); got != want {
			t.Errorf("InitramfsName(%s) = %s, want %s", release, got, want)
		}
	}
	if _, err := Kernels(fstest.MapFS{"lib/modules/1/modules.dep": {}}, "boot"); err == nil {
		t.Error("a tree without a kernel was taken")
	}

	// The kernel in the boot partition counts, however it is packed.
	const says = "\x00Linux version 6.12.9+rpt-rpi-v8 (serge@raspberrypi.com) \x00"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(says))
	z.Close()
	for name, image := range map[string]string{
		"as it is": "MZ" + says, "gzip": packed.String(),
		"behind its unpacker, with other bytes": "\x1f\x8b\x08\x1f\x8b" + packed.String() + "dtb",
	} {
		t.Run(name, func(t *testing.T) {
			tree["boot/kernel8.img"] = &fstest.MapFile{Data: []byte(image)}
			want[2].Release = "6.12.9+rpt-rpi-v8"
			wantKernels(t, tree, want)
		})
	}
	for name, image := range map[string]string{
		"nothing": "", "cut short": packed.String()[:20],
		"another one": "Linux version 5.15.1-v8+ (serge) ",
	} {
		t.Run(name, func(t *testing.T) {
			tree["boot/kernel8.img"] = &fstest.MapFile{Data: []byte(image)}
			want[2].Release = "6.12.34-arm64"
			wantKernels(t, tree, want)
		})
	}
}

func wantKernels(t *testing.T, tree fs.FS, want []Kernel) {
	t.Helper()
	got, err := Kernels(tree, "boot")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestNFSArchive makes a controller's image what an archive for nodes without cards
// holds: that of a node without a number, whose firmware finds its initramfs.
func TestNFSArchive(t *testing.T) {
	for release, want := range map[string]string{
		"bookworm": "[all]\nauto_initramfs=1\n" + edit.BlockEnd + "\n",
		"bullseye": "[pi0]\ninitramfs initramfs followkernel\n[pi1]\ninitramfs initramfs followkernel\n[pi2]\ninitramfs initramfs8 followkernel\n" +
			"[pi3]\ninitramfs initramfs8 followkernel\n[pi02]\ninitramfs initramfs8 followkernel\n[pi4]\ninitramfs initramfs8 followkernel\n[all]\n" + edit.BlockEnd + "\n",
	} {
		t.Run(release, func(t *testing.T) {
			s, tree := controllerImage(t, rootfs.NetworkManager)
			s.Release, s.Gadget = release, node.ECM
			apply(t, tree, []edit.Edit{edit.WriteFile{Name: "etc/fstab"}})
			archive := NFSArchive(s, map[string][]byte{"initramfs": []byte("first"), "initramfs8": []byte("second")}, []byte("program"))
			apply(t, tree, archive)
			for name, part := range map[string]string{
				s.BootDir + "/config.txt":                   want,
				s.BootDir + "/initramfs8":                   "second",
				s.BootDir + "/cmdline.txt":                  "nfsroot=172.19.180.254:/var/lib/clusterctrl/nfs/p253 rw",
				"etc/default/clusterctrl":                   "\nTYPE=usbboot\n# Number of the node, 1 to 252.\nID=253\n",
				"usr/share/clusterctrl/usbroot-clusterctrl": "program",
			} {
				if got := read(tree, name); !strings.Contains(got, part) {
					t.Errorf("%s lacks %q:\n%s", name, part, got)
				}
			}
			if target, err := tree.ReadLink("etc/kernel/postinst.d/zz-clusterctrl"); target != "/usr/sbin/clusterctrl" {
				t.Errorf("the hook of kernels leads to %q, %v", target, err)
			}
			if text := read(tree, s.BootDir+"/cmdline.txt"); strings.Contains(text, node.GadgetArg) {
				t.Errorf("the gadget is not the default one: %s", text)
			}
			once := contents(t, tree)
			apply(t, tree, archive)
			if diff := cmp.Diff(once, contents(t, tree)); diff != "" {
				t.Errorf("a second time: -before +after:\n%s", diff)
			}
		})
	}
}
