package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

const sector = 512

// A recorded change of a card. One without data is a hole, one without length the
// end of a sync.
type change struct {
	offset, length int64
	data           []byte
}

// A card is a store that remembers every change that was made to it.
type card struct {
	content []byte
	log     []change
	full    bool // writes fail for want of room
}

var errFull = errors.New("no space left")

func (c *card) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= int64(len(c.content)) {
		return 0, io.EOF
	}
	n := copy(p, c.content[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *card) WriteAt(p []byte, offset int64) (int, error) {
	if c.full {
		return 0, errFull
	}
	c.make(change{offset, int64(len(p)), slices.Clone(p)})
	return len(p), nil
}

func (c *card) Punch(offset, length int64) error {
	c.make(change{offset, length, nil})
	return nil
}

func (c *card) Sync() error {
	c.log = append(c.log, change{})
	return nil
}

func (c *card) make(ch change) {
	c.log = append(c.log, ch)
	c.content = ch.apply(c.content, 0, ch.length)
}

// apply makes the part of a change from byte from to byte to.
func (ch change) apply(content []byte, from, to int64) []byte {
	if need := ch.offset + to; need > int64(len(content)) {
		content = append(content, make([]byte, need-int64(len(content)))...)
	}
	part := content[ch.offset+from : ch.offset+to]
	if ch.data == nil {
		clear(part)
	} else {
		copy(part, ch.data[from:to])
	}
	return content
}

// cut returns the card as a power cut after the first n recorded changes leaves it:
// what was synced is there, of the rest each sector is or is not.
func (c *card) cut(n int, random *rand.Rand) *card {
	synced := 0
	for i, ch := range c.log[:n] {
		if ch.length == 0 {
			synced = i
		}
	}
	var content []byte
	for i, ch := range c.log[:n] {
		for from := int64(0); from < ch.length; {
			to := min(ch.length, from+sector-(ch.offset+from)%sector)
			if i < synced || random.IntN(2) == 0 {
				content = ch.apply(content, from, to)
			}
			from = to
		}
	}
	return &card{content: content}
}

const (
	diskBlocks = 40
	diskSize   = diskBlocks * blockSize
	baseSize   = 30*blockSize + 3*sector
)

// baseImage has a content of its own in each sector.
func baseImage() []byte {
	base := make([]byte, baseSize)
	for i := range base {
		base[i] = byte(i/sector*7 + i%sector/64 + 1)
	}
	return base
}

func create(t require, c *card) *Disk {
	first := Sector{Offset: 5 * sector, Data: [sector]byte(baseImage()[5*sector:])} // the base's own
	if err := Create(c, diskSize, bytes.NewReader(baseImage()), Base{baseSize, sha256.Sum256(nil)}, first); err != nil {
		t.Fatalf("%v", err)
	}
	d, err := Open(c, bytes.NewReader(baseImage()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return d
}

type require interface {
	Fatalf(format string, args ...any)
}

// TestDiskIsABlockDevice has a disk do what it is told at random, beside a plain
// slice of bytes.
func TestDiskIsABlockDevice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &card{}
		d := create(t, c)
		want := append(baseImage(), make([]byte, diskSize-baseSize)...)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			offset := rapid.Int64Range(0, diskSize-1).Draw(t, "offset")
			length := rapid.Int64Range(0, min(diskSize-offset, 5*blockSize)).Draw(t, "length")
			if rapid.Bool().Draw(t, "aligned") {
				offset = offset / blockSize * blockSize
				length = min(roundUp(length, blockSize), diskSize-offset)
			}
			part := want[offset : offset+length]
			var err error
			switch rapid.SampledFrom([]string{"write", "zero", "trim", "flush", "reopen"}).Draw(t, "step") {
			case "write":
				data := rapid.SliceOfN(rapid.Byte(), int(length), int(length)).Draw(t, "data")
				copy(part, data)
				_, err = d.WriteAt(data, offset)
			case "zero":
				clear(part)
				err = d.Zero(offset, length)
			case "trim":
				if err = d.Trim(offset, length); err == nil {
					_, err = d.ReadAt(part, offset) // any content will do, from now on this
				}
			case "flush":
				err = d.Flush()
			case "reopen":
				if err = d.Flush(); err == nil {
					d, err = Open(c, bytes.NewReader(baseImage()))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, diskSize)
			if _, err := d.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("differs from byte %d on", firstDifference(got, want))
			}
		}
	})
}

// A slowCard syncs when it is told to.
type slowCard struct {
	*card
	sync chan struct{}
}

func (c slowCard) Sync() error {
	<-c.sync
	return c.card.Sync()
}

// TestWriteDuringSync: what is being synced stays as it is until it is on the card. A
// sector that a sync is for would reach the card in part with what is written meanwhile.
func TestWriteDuringSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := slowCard{&card{}, make(chan struct{})}
		create(t, c.card)
		d, err := Open(c, bytes.NewReader(baseImage()))
		if err != nil {
			t.Fatal(err)
		}
		var done []string
		write := func(what string, offset, length int64) {
			if _, err := d.WriteAt(make([]byte, length), offset); err != nil {
				t.Error(err)
			}
			done = append(done, what)
		}
		write("first", 4*blockSize, 2*blockSize)
		go func() {
			if err := d.Flush(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		go write("same sector", 5*blockSize+sector, sector)
		synctest.Wait()
		write("elsewhere", 35*blockSize, blockSize)
		c.sync <- struct{}{} // of the data
		synctest.Wait()
		if want := []string{"first", "elsewhere", "same sector"}; !slices.Equal(done, want) {
			t.Errorf("done: %q, want %q", done, want)
		}
		c.sync <- struct{}{} // of the map
	})
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// A sectorModel is what a sector may hold after a power cut: what it held at the last
// flush, and all that was written since. Any is for what was trimmed.
type sectorModel struct {
	may map[string]bool
	any bool
}

// TestPowerCut cuts the power at every change of the card, several times each.
func TestPowerCut(t *testing.T) {
	cuts := 0
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		c := &card{}
		d := create(t, c)
		models := []model{startModel()} // one for each moment at which it changes
		since := []int{len(c.log)}      // how many changes of the card came before that
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			block := random.Int64N(diskBlocks)
			offset, length := block*blockSize, blockSize*(1+random.Int64N(min(3, diskBlocks-block)))
			if random.IntN(3) == 0 { // not whole blocks
				offset, length = offset+sector*random.Int64N(8), sector*(1+random.Int64N(8))
				length = min(length, diskSize-offset)
			}
			next := copyModel(models[len(models)-1])
			at := len(c.log)
			var err error
			switch random.IntN(6) {
			case 0:
				next.each(offset, length, func(s *sectorModel, _ int64) { s.any = true })
				err = d.Trim(offset, length)
			case 1:
				next.each(offset, length, func(s *sectorModel, _ int64) { s.may[string(make([]byte, sector))] = true })
				err = d.Zero(offset, length)
			case 2:
				if err = d.Flush(); err == nil { // from its end on
					at, next = len(c.log), flushed(d)
				}
			default:
				data := make([]byte, length)
				for i := int64(0); i < length; i += 8 {
					binary.LittleEndian.PutUint64(data[i:], random.Uint64())
				}
				next.each(offset, length, func(s *sectorModel, i int64) { s.may[string(data[i:i+sector])] = true })
				_, err = d.WriteAt(data, offset)
			}
			if err != nil {
				t.Fatal(err)
			}
			models, since = append(models, next), append(since, at)
		}
		for n := since[0]; n <= len(c.log); n++ {
			moment, _ := slices.BinarySearch(since, n+1)
			for range 3 {
				cuts++
				if err := models[moment-1].check(c.cut(n, random)); err != nil {
					t.Fatalf("cut after %d of %d changes: %v", n, len(c.log), err)
				}
			}
		}
	})
	t.Logf("%d power cuts", cuts)
}

// TestZeroAfterPowerCut zeroes a block whose data a power cut had left in the file, without
// the map that leads to it.
func TestZeroAfterPowerCut(t *testing.T) {
	c := &card{}
	if _, err := create(t, c).WriteAt(bytes.Repeat([]byte("lost"), blockSize/4), 3*blockSize); err != nil {
		t.Fatal(err)
	}
	d, err := Open(&card{content: c.content}, bytes.NewReader(baseImage()))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, blockSize)
	if err := d.Zero(3*blockSize, blockSize); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(got, 3*blockSize); err != nil || !bytes.Equal(got, make([]byte, blockSize)) {
		t.Errorf("a block of zeros reads as %.8q..., %v", got, err)
	}
}

type model []sectorModel

func startModel() model {
	image := append(baseImage(), make([]byte, diskSize-baseSize)...)
	return modelOf(image)
}

func modelOf(image []byte) model {
	m := make(model, len(image)/sector)
	for i := range m {
		m[i].may = map[string]bool{string(image[i*sector : (i+1)*sector]): true}
	}
	return m
}

// flushed is the model right after a flush: each sector holds what it reads as.
func flushed(d *Disk) model {
	image := make([]byte, diskSize)
	if _, err := d.ReadAt(image, 0); err != nil {
		panic(err)
	}
	return modelOf(image)
}

func copyModel(m model) model {
	c := make(model, len(m))
	for i, s := range m {
		c[i] = sectorModel{may: map[string]bool{}, any: s.any}
		for k := range s.may {
			c[i].may[k] = true
		}
	}
	return c
}

func (m model) each(offset, length int64, change func(s *sectorModel, within int64)) {
	for i := int64(0); i < length; i += sector {
		change(&m[(offset+i)/sector], i)
	}
}

// check opens the disk on a card after a power cut and looks at each sector.
func (m model) check(c *card) error {
	d, err := Open(c, bytes.NewReader(baseImage()))
	if err != nil {
		return err
	}
	got := make([]byte, diskSize)
	if _, err := d.ReadAt(got, 0); err != nil {
		return err
	}
	for i, s := range m {
		if !s.any && !s.may[string(got[i*sector:(i+1)*sector])] {
			return fmt.Errorf("sector %d holds neither what the last flush made safe nor what was written since", i)
		}
	}
	return nil
}
