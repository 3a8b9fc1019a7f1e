// Package flash proves that cards are written as they should be, in a virtual
// machine with disks that fail in all the ways that cards do.
package flash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// program is where the machine has the program, and image the controller's image.
const (
	program = "/bin/clusterctrl"
	image   = "/dev/vdb"
)

// cardSize is larger than the image, as cards are.
const cardSize = 144 << 20

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine boots a virtual machine whose only program is this test: see
// [inMachine]. Then it has e2fsck and fsck.fat judge the cards, and cuts the power
// at each write of one.
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	dir := t.TempDir()
	controller := buildController(t, dir)
	var cards []string
	for n := range 4 {
		cards = append(cards, usedCard(t, filepath.Join(dir, fmt.Sprintf("card%d.img", n)), byte(n)))
	}
	log := filepath.Join(dir, "writes")
	kernel := labtest.NewKernel(t, labtest.AMD64)
	vm.Boot(t, labtest.Initramfs{
		Files: map[string]string{
			program[1:]:     labtest.Program(t, labtest.AMD64, "../../cmd/clusterctrl"),
			"scsi_debug.ko": filepath.Join(kernel.Modules, "kernel/drivers/scsi/scsi_debug.ko"),
		},
		Modules: modules,
	}, func(c *lab.Config) {
		c.Image, c.InPlace, c.WriteLog = cards[0], true, log
		c.QEMU = []string{"-m", "1024"}
		for _, disk := range append([]string{controller}, cards[1:]...) {
			c.QEMU = append(c.QEMU, "-drive", "if=virtio,format=raw,file="+disk)
		}
	})

	for _, n := range []int{0, 3} {
		judge(t, cards[n])
	}
	cutPower(t, log, cards[0])
}

// buildController makes a controller's image of the sample. Its program for the Pi
// runs nowhere.
func buildController(t *testing.T, dir string) string {
	t.Helper()
	s := settings.Default()
	s.SetNodes(0)
	s.NAT = false
	result, err := provision.Build(context.Background(), provision.Options{
		Base: diskimage.Stdin, Input: bytes.NewReader(sample.Image), InputName: sample.Name, Dir: dir, Settings: s,
		Programs: func(rootfs.Arch) (map[string][]byte, error) {
			return map[string][]byte{node.ReconfigPath[1:]: []byte("no program")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, result.Files[0].Name)
}

// usedCard writes the image of a card that is full of noise behind a partition
// table.
func usedCard(t *testing.T, name string, seed byte) string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{seed}), cardSize); err != nil {
		t.Fatal(err)
	}
	var sector [mbr.SectorSize]byte
	copy(sector[446:], "\x00\x00\x00\x00\x0c\x00\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00") // 1 MiB of FAT32
	copy(sector[510:], "\x55\xaa")
	if _, err := f.WriteAt(sector[:], 0); err != nil {
		t.Fatal(err)
	}
	return name
}

// judge has e2fsck and fsck.fat look at a card.
func judge(t *testing.T, card string) {
	t.Helper()
	f, err := os.Open(card)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := mbr.Read(f, cardSize)
	if err != nil {
		t.Errorf("%s: %v", card, err)
		return
	}
	for n, program := range []string{"fsck.fat", "e2fsck"} {
		p := table.Partitions[n]
		part := filepath.Join(t.TempDir(), "part")
		data := make([]byte, p.Size)
		if _, err := f.ReadAt(data, p.Start); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(part, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(program, map[int][]string{0: {"-n", part}, 1: {"-fn", part}}[n]...).CombinedOutput(); err != nil {
			t.Errorf("%s of partition %d of %s: %v\n%s", program, n+1, card, err, out)
		}
	}
}

func readFile(t *testing.T, name string, n int64) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, n)
	if _, err := io.ReadFull(f, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func hasTable(disk []byte) bool { return disk[510] == 0x55 && disk[511] == 0xaa }

// cutPower replays what was written to a card, with the power cut after each write,
// and each write since the last flush either done or not. Up to the last, there is no
// partition table, and with it, the card is as the machine left it.
func cutPower(t *testing.T, log, card string) {
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := readFile(t, card, cardSize)
	disk := make([]byte, cardSize)
	copy(disk, readFile(t, usedCard(t, filepath.Join(filepath.Dir(card), "before"), 0), cardSize))
	writes, flushes, tables := 0, 0, 0
	open := []labtest.Write{} // since the last flush
	for w, err := range labtest.ReadWriteLog(f) {
		if err != nil {
			t.Fatal(err)
		}
		if w.Flush {
			flushes++
			open = open[:0]
		}
		if len(w.Data) == 0 {
			continue
		}
		writes++
		open = append(open, w)
		copy(disk[w.Offset:], w.Data)
		if w.Offset == 0 && hasTable(w.Data) {
			tables++
			// All else must be on the card by now, since any of these may be lost.
			for _, o := range open {
				if o.Offset != 0 {
					t.Errorf("the table is written while %d bytes at byte %d are not safe", len(o.Data), o.Offset)
				}
			}
			if !bytes.Equal(disk, want) {
				t.Error("the table is written before the card is what it was at the end")
			}
		} else if flushes > 0 && hasTable(disk) != (tables > 0) {
			t.Fatalf("after %d writes, there is a partition table: %v", writes, hasTable(disk))
		}
	}
	if tables != 1 || flushes < 3 || writes < 3 { // large ones
		t.Errorf("%d writes, %d flushes, %d of the table: want 3, 3, and 1", writes, flushes, tables)
	}
}
