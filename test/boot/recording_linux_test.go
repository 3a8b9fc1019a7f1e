package boot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/tree/rootfs"
)

// A recording is all that a first boot does to its card.
type recording struct {
	machine lab.Config // that was used, the card as it was before
	after   string     // the card then
	writes  []labtest.Write
	flushes []int // how many of writes were safe when a flush was over
}

// record boots a card that makes itself role on a machine whose disk has a cache,
// as a card may have one: what is written is safe only when it was flushed.
func record(t *testing.T, role string) recording {
	t.Helper()
	dir, log := memory(t), filepath.Join(t.TempDir(), "writes")
	kernel := labtest.NewKernel(t, labtest.AMD64)
	program := labtest.Program(t, labtest.AMD64, filepath.Join(moduleRoot, "cmd/reconfig-clusterctrl"))
	image := cardFor(t, build(t, "sample", "-p1.img", "--nodes", "1", "--no-nat"), role, func(tree *rootfs.Image) error {
		// In namespaces there is the device, but not the disk that has its id.
		fstab, err := fs.ReadFile(tree, "etc/fstab")
		if err != nil {
			return err
		}
		named := strings.ReplaceAll(string(fstab), "PARTUUID=5a3d1c0e-0", "/dev/vda")
		return errors.Join(tree.WriteFile("etc/fstab", []byte(named), 0), install(tree, program, nil))
	})
	line, err := commandLine(image)
	if err != nil {
		t.Fatal(err)
	}
	r := recording{machine: lab.Config{
		Model: "amd64", Dir: dir, Image: image, KernelArgs: []string{"starter.root=/dev/vda2"},
		Software: &lab.Software{
			Kernel:      kernel.Image,
			Initramfs:   starter(t, kernel, labtest.AMD64, "virtio_pci", "virtio_blk"),
			CommandLine: line,
		},
	}}
	c := r.machine
	c.WriteLog = log
	m, ctx := newMachine(t, c)
	restarts(t, ctx, boot(t, ctx, m), "clusterctrl: restart")
	r.after = m.Card()
	r.read(t, log)
	return r
}

func (r *recording) read(t *testing.T, log string) {
	t.Helper()
	for _, w := range labtest.WritesAndFlushes(t, log) {
		if w.Flush {
			r.flushes = append(r.flushes, len(r.writes))
		} else {
			r.writes = append(r.writes, w)
		}
	}
	// What is written behind the last flush may be lost too.
	r.flushes = append(r.flushes, len(r.writes))
}

// commandLine returns what the firmware would give to the kernel.
func commandLine(card string) (string, error) {
	line, err := output("mtype", "-i", card+"@@4M", "::cmdline.txt")
	return strings.TrimSpace(line), err
}

// A part is what a disk writes all or not at all.
type part struct {
	offset int64
	data   []byte
}

// A disk writes whole sectors; ext4 wants as much of it as its superblock has.
const bootPart, rootPart = 512, 1024

// parts are those of the writes that were not safe between two flushes.
func (r recording) parts(safe, end int) []part {
	var all []part
	for _, w := range r.writes[safe:end] {
		size := bootPart
		if w.Offset >= sampleRoot {
			size = rootPart
		}
		at := w.Offset
		for data := range slices.Chunk(w.Data, size) {
			all = append(all, part{at, data})
			at += int64(len(data))
		}
	}
	return all
}

// A cut is a moment at which the power fails: the writes before safe are on the
// card, and of the parts behind them those that are kept.
type cut struct {
	safe int
	kept []bool
}

func (c cut) String() string {
	var b strings.Builder
	for _, kept := range c.kept {
		b.WriteByte(map[bool]byte{false: '-', true: '+'}[kept])
	}
	return fmt.Sprintf("%d writes safe, then %s", c.safe, b.String())
}

// cuts returns a cut at each flush and, for the parts between any two, n that
// keep only some of them, or all such cuts if there are no more.
func (r recording) cuts(n int) []cut {
	var all []cut
	safe := 0
	for _, end := range r.flushes {
		all = append(all, cut{safe: safe})
		for _, kept := range subsetsOf(len(r.parts(safe, end)), n) {
			all = append(all, cut{safe, kept})
		}
		safe = end
	}
	return append(all, cut{safe: safe})
}

// subsetsOf returns n subsets of parts that are neither empty nor whole, at random
// but always the same, or all if there are no more.
func subsetsOf(parts, n int) [][]bool {
	const many = 20
	every := 1<<min(parts, many) - 1 // the number of the whole
	random := rand.New(rand.NewPCG(1, uint64(parts)))
	var subsets [][]bool
	for i := 1; i < every && i <= n; i++ {
		kept := make([]bool, parts)
		for bit := range kept {
			kept[bit] = i>>bit&1 == 1
			if every-1 > n {
				kept[bit] = random.IntN(2) == 1
			}
		}
		subsets = append(subsets, kept)
	}
	return subsets
}

// apply makes a card as it was before one as the cut left it.
func (r recording) apply(c cut, card string) error {
	f, err := os.OpenFile(card, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, w := range r.writes[:c.safe] {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
	}
	for i, part := range r.parts(c.safe, len(r.writes))[:len(c.kept)] {
		if !c.kept[i] {
			continue
		}
		if _, err := f.WriteAt(part.data, part.offset); err != nil {
			return err
		}
	}
	return nil
}
