package boot_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// Where the sample image has its partitions, in bytes.
const (
	sampleBoot = 4 << 20
	sampleRoot = 44 << 20
)

// TestZero boots a Pi Zero, whose ARMv6 processor runs no later program. The
// sample has no system, so the boot after the restart ends where one would start.
func TestZero(t *testing.T) {
	wholeSystems(t)
	card := build(t, "sample", "-p7.img", "--nodes", "7", "--no-nat")
	kernel := labtest.NewKernel(t, labtest.ARMv6)
	program := labtest.Program(t, labtest.ARMv6, filepath.Join(moduleRoot, "cmd/reconfig-clusterctrl"))
	change(t, card, func(tree *rootfs.Image) error {
		return install(tree, program, map[string]string{
			"kernel.img":           kernel.Image,
			"bcm2835-rpi-zero.dtb": kernel.Tree("bcm2835-rpi-zero.dtb"),
			"initramfs":            starter(t, kernel, labtest.ARMv6, "sdhci_iproc"),
		})
	})
	m, ctx := newMachine(t, lab.Config{Model: "raspi0", Image: card, InPlace: true,
		KernelArgs: []string{"starter.root=/dev/mmcblk0p2"}})
	restarts(t, ctx, boot(t, ctx, m), `starter: /usr/sbin/reconfig-clusterctrl ["p7"]`, "clusterctrl: restart")
	isNode7(t, card)

	b := boot(t, ctx, m)
	if _, err := b.Expect(ctx, "starter: /usr/lib/raspberrypi-sys-mods/firstboot []"); err != nil {
		t.Error(err)
	}
}

// isNode7 asks other programs than ours whether a card is node p7's.
func isNode7(t *testing.T, card string) {
	t.Helper()
	partition := filepath.Join(t.TempDir(), "root.img")
	run(t, "dd", "if="+card, "of="+partition, "bs=4M", "skip=11", "conv=sparse", "status=none")
	run(t, "e2fsck", "-fn", partition)
	for _, file := range []struct{ name, want string }{
		{"/etc/hostname", "\np7\n"},
		{"/etc/hosts", "\n127.0.1.1\tp7\n"},
		{"/etc/default/clusterctrl", "\nTYPE=node\n"},
		{"/etc/default/clusterctrl", "\nID=7\n"},
		{"/etc/NetworkManager/system-connections/clusterctrl-usb0.nmconnection", "\naddress1=172.19.181.7/24\n"},
	} {
		if got := run(t, "debugfs", "-R", "cat "+file.name, partition); !strings.Contains("\n"+got, file.want) {
			t.Errorf("%s is %q, want %q in it", file.name, got, file.want)
		}
	}
	for name, want := range map[string]string{
		"cmdline.txt": " init=/usr/lib/raspberrypi-sys-mods/firstboot ",
		"cmdline.old": " init=/usr/sbin/reconfig-clusterctrl p7 ",
		"config.txt":  "\ndtoverlay=dwc2,dr_mode=peripheral\n",
	} {
		if got := run(t, "mtype", "-i", card+"@@4M", "::"+name); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q in it", name, got, want)
		}
	}
	program, _ := makeProgram()
	run(t, program, "verify", "p7", "--image", card)
}

// starter makes an initramfs that starts what is on the card.
func starter(t testing.TB, kernel labtest.Kernel, arch labtest.Arch, modules ...string) string {
	t.Helper()
	return kernel.Initramfs(t, labtest.Initramfs{
		Init:    labtest.Program(t, arch, "starter"),
		Modules: append(modules, "ext4"),
	})
}

// install replaces the program that the kernel starts in an image that has no system,
// and adds files to the boot partition.
func install(tree *rootfs.Image, program string, boot map[string]string) error {
	if err := copyInto(tree, strings.TrimPrefix(node.ReconfigPath, "/"), program); err != nil {
		return err
	}
	for name, from := range boot {
		if err := copyInto(tree, path.Join(path.Dir(tree.CommandLine()), name), from); err != nil {
			return err
		}
	}
	return nil
}

func copyInto(tree rootfs.Tree, name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return tree.WriteFile(name, data, 0o755)
}
