package lab_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
)

// machine builds a machine whose console goes to the test's log.
func machine(t *testing.T, c lab.Config) (*lab.Machine, context.Context) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.ArtifactDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	c.Transcript, ctx = labtest.Listen(t, log)
	m, err := lab.New(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		log.Close()
	})
	return m, ctx
}

func boot(t *testing.T, ctx context.Context, m *lab.Machine) *lab.Boot {
	t.Helper()
	b, err := m.Boot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func expect(t *testing.T, ctx context.Context, b *lab.Boot, text string) {
	t.Helper()
	if _, err := b.Expect(ctx, text); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, b *lab.Boot, want lab.Outcome) {
	t.Helper()
	if how, err := b.Wait(); how != want || err != nil {
		t.Fatalf("boot ended: %v, %v; want %v", how, err, want)
	}
}

// TestRestart boots a program as PID 1 again and again: it restarts, listens
// until the power is cut, leaves the kernel alone, and switches off.
func TestRestart(t *testing.T) {
	for i, tt := range []struct {
		model string
		arch  labtest.Arch
		tree  string // empty if QEMU brings it
	}{
		{model: "arm64", arch: labtest.ARM64},
		{model: "amd64", arch: labtest.AMD64},
		{model: "raspi0", arch: labtest.ARMv6, tree: "bcm2835-rpi-zero.dtb"},
	} {
		t.Run(tt.model, func(t *testing.T) {
			if i > 0 {
				moreMachines(t)
			}
			kernel := labtest.NewKernel(t, tt.arch)
			software := &lab.Software{
				Kernel:    kernel.Image,
				Initramfs: kernel.Initramfs(t, labtest.Initramfs{Init: labtest.Program(t, tt.arch, "labtest/restarter")}),
			}
			if tt.tree != "" {
				software.DeviceTree = kernel.Tree(tt.tree)
			}
			m, ctx := machine(t, lab.Config{Model: tt.model, Software: software})

			software.CommandLine = "quiet console=tty1 first restart"
			b := boot(t, ctx, m)
			expect(t, ctx, b, `guest: arguments ["first" "restart"]`)
			wait(t, b, lab.Restarted)

			software.CommandLine = "quiet echo"
			b = boot(t, ctx, m)
			expect(t, ctx, b, `guest: arguments ["echo"]`)
			if err := b.Send("do you hear me"); err != nil {
				t.Fatal(err)
			}
			expect(t, ctx, b, "guest: heard DO YOU HEAR ME")
			if how, err := b.Cut(); how != lab.PowerCut || err != nil {
				t.Fatalf("Cut() = %v, %v; want %v", how, err, lab.PowerCut)
			}

			software.CommandLine = "quiet die"
			b = boot(t, ctx, m)
			if how, err := b.Wait(); how != 0 || !errors.Is(err, lab.ErrPanic) {
				t.Fatalf("boot ended: %v, %v; want %v", how, err, lab.ErrPanic)
			}

			software.CommandLine = "quiet end"
			b = boot(t, ctx, m)
			expect(t, ctx, b, `guest: arguments ["end"]`)
			wait(t, b, lab.PoweredOff)
		})
	}
}

// TestCard boots a card twice. What the first boot writes to both partitions is
// there for the second, and for the firmware before it.
func TestCard(t *testing.T) {
	kernel := labtest.NewKernel(t, labtest.ARM64)
	const tree = "bcm2837-rpi-3-b.dtb"
	image := card(t, map[string]string{
		"kernel8.img": kernel.Image,
		tree:          kernel.Tree(tree),
		"initramfs8":  editor(t, kernel, labtest.ARM64, "sdhci_iproc", "bcm2835"),
	})
	before := labtest.BootFile(t, image, "cmdline.txt")
	m, ctx := machine(t, lab.Config{Model: "raspi3b", Image: image})

	b := boot(t, ctx, m)
	expect(t, ctx, b, `editor: arguments ["/dev/mmcblk0p" "first"]`)
	expect(t, ctx, b, "editor: edited")
	wait(t, b, lab.Restarted)

	b = boot(t, ctx, m)
	expect(t, ctx, b, `editor: arguments ["/dev/mmcblk0p" "second"]`)
	expect(t, ctx, b, "editor: host name p7")
	if err := b.Send("do you hear me"); err != nil {
		t.Fatal(err)
	}
	expect(t, ctx, b, "editor: heard DO YOU HEAR ME")
	if how, err := b.Cut(); how != lab.PowerCut || err != nil {
		t.Fatalf("Cut() = %v, %v; want %v", how, err, lab.PowerCut)
	}
	if after := labtest.BootFile(t, image, "cmdline.txt"); after != before {
		t.Errorf("the user's image has the command line %q, had %q", after, before)
	}
}

// TestWritesAreLogged edits a disk and replays the log on the image it was
// copied from. That must give what the machine made of it.
func TestWritesAreLogged(t *testing.T) {
	kernel := labtest.NewKernel(t, labtest.AMD64)
	image := card(t, nil)
	log := filepath.Join(t.TempDir(), "writes,log")
	m, ctx := machine(t, lab.Config{Model: "amd64", Image: image, WriteLog: log, Software: &lab.Software{
		Kernel:      kernel.Image,
		Initramfs:   editor(t, kernel, labtest.AMD64, "virtio_pci", "virtio_blk"),
		CommandLine: "quiet /dev/vda first",
	}})
	b := boot(t, ctx, m)
	expect(t, ctx, b, "editor: edited")
	wait(t, b, lab.Restarted)
	checkLog(t, log, image, m.Card())
}

// checkLog wants a log of flushes, and of writes that lead from image to card.
func checkLog(t *testing.T, log, image, card string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	writes, flushes := 0, 0
	for w, err := range labtest.ReadWriteLog(f) {
		if err != nil {
			t.Fatal(err)
		}
		copy(got[w.Offset:], w.Data)
		clear(got[w.Offset : w.Offset+w.Discard])
		if len(w.Data) > 0 {
			writes++
		}
		if w.Flush {
			flushes++
		}
	}
	if writes == 0 || flushes == 0 {
		t.Errorf("the log has %d writes and %d flushes, want some", writes, flushes)
	}
	want, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want[:len(got)]) {
		t.Error("the log does not lead from the image to the card")
	}
}

// editor makes an initramfs that starts the editor and has these modules for the
// disk.
func editor(t *testing.T, kernel labtest.Kernel, arch labtest.Arch, modules ...string) string {
	t.Helper()
	return kernel.Initramfs(t, labtest.Initramfs{
		Init:    labtest.Program(t, arch, "labtest/editor"),
		Modules: append(modules, "ext4", "vfat", "nls_cp437", "nls_ascii"),
	})
}

// card makes an image of a card that has these files too in its boot partition.
func card(t *testing.T, boot map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"config.txt":        "arm_64bit=1\nauto_initramfs=1\n",
		"cmdline.txt":       "console=serial0,115200 console=tty1 root=/dev/mmcblk0p2 quiet init=/sbin/editor /dev/mmcblk0p first\n",
		"root/etc/hostname": "raspberrypi\n",
		"root/boot/empty":   "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		"config.txt":  filepath.Join(dir, "config.txt"),
		"cmdline.txt": filepath.Join(dir, "cmdline.txt"),
	}
	maps.Copy(files, boot)
	return labtest.Card{Boot: files, Root: filepath.Join(dir, "root")}.Image(t)
}
