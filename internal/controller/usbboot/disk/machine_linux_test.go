package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
	"golang.org/x/sys/unix"
)

// The card of the machine has a file system, and behind it what the player of the load
// notes.
const (
	fileSystemSize = 64 << 20
	markAt         = fileSystemSize
	historyAt      = markAt + 64<<10
	historySize    = 64 << 10
	cardSize       = historyAt + historySize

	diskDir = "disk" // in the file system
)

// randomCuts is how many cuts lose some of the writes since a flush.
const randomCuts = 200

func TestMain(m *testing.M) { vm.Main(m) }

// TestMachine cuts the power of a controller that serves a node's disk under load: in a
// machine the service keeps the disk on ext4, and all writes and flushes of the machine's
// card are recorded. Then the card is made as a power cut would have left it, at each flush
// and with random parts of the writes between two of them. e2fsck must find nothing to
// repair but the journal, and the disk must hold what the service had said to be safe.
//
// How far the service was is known from marks that the load's client writes to the card
// itself, behind the file system: the client marks that it has an answer, so that all
// that was on the card before the answer is in the record before the mark.
func TestMachine(t *testing.T) {
	if vm.Inside() {
		playLoad(t)
		return
	}
	dir := memory(t)
	card, log := filepath.Join(dir, "card"), filepath.Join(dir, "writes")
	must[string](t)(client("mkfs.ext4", "-q", "-b", "4096", "-O", "^64bit,^huge_file", card, fmt.Sprintf("%dk", fileSystemSize>>10)))
	if err := os.Truncate(card, cardSize); err != nil {
		t.Fatal(err)
	}
	before := must[[]byte](t)(os.ReadFile(card))
	vm.Boot(t, labtest.Initramfs{Modules: []string{"virtio_pci", "virtio_blk", "ext4"}}, func(c *lab.Config) {
		c.Image, c.InPlace, c.WriteLog = card, true, log
	})
	if t.Failed() {
		return
	}
	after := must[[]byte](t)(os.ReadFile(card))
	c := &campaign{T: t, dir: dir, record: readRecord(t, log), card: before[:fileSystemSize], history: newHistory(readEvents(after))}
	if marked, all := c.happened[len(c.asked)], len(c.history.events); marked != all {
		t.Fatalf("%d events are marked on the card, want all %d", marked, all)
	}
	c.tryAll()
	if c.proceed(len(c.asked)); !bytes.Equal(c.card, after[:fileSystemSize]) {
		t.Error("the record does not lead to the card as it is after the load")
	}
}

// memory returns a directory on a file system in memory, whose syncs take no time.
func memory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("want root, to mount a file system in memory: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func readEvents(card []byte) []event {
	history := make([]event, historySize/binary.Size(event{}))
	if _, err := binary.Decode(card[historyAt:], binary.LittleEndian, history); err != nil {
		panic(err)
	}
	return history[1 : 1+history[0].Request]
}

// A record is all that was asked of the card.
type record struct {
	asked    []labtest.Write
	flushes  []int // their numbers
	happened []int // for each number, how many events are known to have happened by then
}

func readRecord(t *testing.T, log string) (r record) {
	t.Helper()
	happened := 0
	for _, w := range labtest.WritesAndFlushes(t, log) {
		if w.Flush {
			r.flushes = append(r.flushes, len(r.asked))
		}
		r.asked = append(r.asked, w)
		r.happened = append(r.happened, happened)
		if w.Offset == markAt {
			happened = int(binary.LittleEndian.Uint64(w.Data))
		}
	}
	r.happened = append(r.happened, happened)
	return r
}

// A powerCut leaves what was asked of a card before safe, and some of what was asked from
// then to end.
type powerCut struct {
	safe, end int
	kept      float64 // the part of it that is kept
}

func (c powerCut) String() string {
	return fmt.Sprintf("cut at entry %d, %.0f %% of what came since entry %d kept", c.end, 100*c.kept, c.safe)
}

// cuts returns cuts in the order of what is safe: at each flush, with all lost that came
// between it and the next one, and at n other moments.
func (r record) cuts(n int) []powerCut {
	var all []powerCut
	bounds := slices.Concat([]int{0}, r.flushes, []int{len(r.asked)})
	for i, safe := range bounds[:len(bounds)-1] {
		all = append(all, powerCut{safe: safe, end: bounds[i+1]})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range n {
		end := 1 + random.IntN(len(r.asked))
		next, _ := slices.BinarySearch(bounds, end)
		all = append(all, powerCut{bounds[next-1], end, []float64{0.1, 0.5, 0.9}[random.IntN(3)]})
	}
	slices.SortStableFunc(all, func(a, b powerCut) int { return a.safe - b.safe })
	return all
}

// A campaign is all cuts of a record.
type campaign struct {
	*testing.T
	record
	history *history
	dir     string
	card    []byte // the file system: as it was at first, and after what is done of the record
	done    int

	replayed, without, later, failed atomic.Int64
}

func (c *campaign) tryAll() {
	cuts := c.cuts(randomCuts)
	type made struct {
		at   powerCut
		name string
	}
	work := make(chan made)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for m := range work {
				if err := c.try(m.at, m.name); err != nil {
					c.failed.Add(1)
					c.Errorf("%v: %v", m.at, err)
				}
			}
		})
	}
	for i, at := range cuts {
		c.proceed(at.safe)
		name := filepath.Join(c.dir, fmt.Sprintf("cut%d", i))
		undo := c.keep(at, rand.New(rand.NewPCG(3, uint64(i))))
		if err := save(name, c.card); err != nil {
			c.Fatal(err)
		}
		undo()
		work <- made{at, name}
	}
	close(work)
	workers.Wait()
	c.Logf("%v", c.history)
	c.Logf("the card was asked for %d writes and %d flushes", len(c.asked)-len(c.flushes), len(c.flushes))
	c.Logf("cuts: %d at flushes, %d at random; %d failed; in %d a journal was replayed, in %d there was no disk yet; %d sectors held more than was safe",
		len(cuts)-randomCuts, randomCuts, c.failed.Load(), c.replayed.Load(), c.without.Load(), c.later.Load())
}

// proceed does what was asked of the card before an entry of the record.
func (c *campaign) proceed(end int) {
	for ; c.done < end; c.done++ {
		c.write(c.asked[c.done].Offset, c.asked[c.done].Data)
	}
}

// write writes to the file system on the card.
func (c *campaign) write(offset int64, data []byte) {
	if offset < int64(len(c.card)) {
		copy(c.card[offset:], data)
	}
}

// keep writes what a cut keeps of what was not flushed, until undone. Of a node's data
// each sector is kept or not. A block of ext4 is kept whole, as ext4 expects.
func (c *campaign) keep(at powerCut, random *rand.Rand) (undo func()) {
	type part struct {
		offset int64
		before []byte
	}
	var changed []part
	for _, w := range c.asked[at.safe:at.end] {
		if w.Offset >= fileSystemSize {
			continue
		}
		for block := range slices.Chunk(w.Data, blockSize) {
			size := blockSize
			if bytes.Contains(block, []byte(sectorMagic)) {
				size = sector
			}
			for data := range slices.Chunk(block, size) {
				if random.Float64() < at.kept {
					changed = append(changed, part{w.Offset, bytes.Clone(c.card[w.Offset : w.Offset+int64(size)])})
					c.write(w.Offset, data)
				}
				w.Offset += int64(size)
			}
		}
	}
	return func() {
		for _, p := range slices.Backward(changed) {
			c.write(p.offset, p.before)
		}
	}
}

// save writes a file, with holes in it for zeros.
func save(name string, content []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(len(content))), writeSparse(f, content, 0), f.Close())
}

// try looks at a card as a cut left it.
func (c *campaign) try(at powerCut, card string) error {
	out := card + ".files"
	defer os.RemoveAll(out)
	defer os.Remove(card)
	if err := c.repair(card); err != nil {
		return err
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	if _, err := client("debugfs", "-R", fmt.Sprintf("rdump /%s %s", diskDir, out), card); err != nil {
		return err
	}
	happened := c.happened[at.end]
	disk, err := Dir{Path: filepath.Join(out, diskDir)}.open(5)
	if errors.Is(err, fs.ErrNotExist) && happened == 0 {
		c.without.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	defer disk.Close()
	content := make([]byte, disk.Size())
	if _, err := disk.ReadAt(content, 0); err != nil {
		return err
	}
	later, err := c.history.check(content, happened)
	c.later.Add(int64(later))
	return err
}

// quiet are the lines of e2fsck that tell of no other repair than the next mount would do:
// the journal is replayed, a removed file that was open loses its blocks, and what is free
// in the whole file system is counted, which the superblock has only after an unmount.
var quiet = regexp.MustCompile(`^$|^e2fsck 1|: recovering journal$|^Clearing orphaned inode |^Pass [1-5]|` +
	`^Free (blocks|inodes) count wrong \(\d+, counted=\d+\)\.$|^Fix\? yes$|FILE SYSTEM WAS MODIFIED|: \d+/\d+ files `)

// repair has e2fsck replay the journal, and check that there is no more to repair.
func (c *campaign) repair(card string) error {
	said, err := exec.Command("e2fsck", "-fy", card).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("e2fsck: %w: %s", err, said)
	}
	for line := range strings.Lines(string(said)) {
		if !quiet.MatchString(strings.TrimSpace(line)) {
			return fmt.Errorf("e2fsck repaired more than the journal: %s", said)
		}
	}
	if strings.Contains(string(said), "recovering journal") {
		c.replayed.Add(1)
	}
	return nil
}
