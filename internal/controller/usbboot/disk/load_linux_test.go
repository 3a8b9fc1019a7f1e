package disk

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Commands of the protocol.
const (
	writeCommand = 1
	flushCommand = 3
	trimCommand  = 4
	zeroCommand  = 6
)

// A request of a load.
type request struct {
	command        uint16
	forced         bool // FUA: what the request did is safe before the answer
	offset, length int64
	under          int // the request waits until fewer others are under way
}

// A load is played on connections, one after the other. Of every other one, the client
// hangs up before all requests are answered.
const (
	connections    = 10
	perConnection  = 60
	loadedSize     = 6 << 20 // part of the disk that the load changes; the base is smaller
	busyAt         = 1 << 20 // part that most requests are for
	busySize       = 256 << 10
	longestRequest = 160 << 10 // more than the server takes at once
)

// newLoad returns the requests of all connections. The load is always the same.
func newLoad() []request {
	random := rand.New(rand.NewPCG(13, 2))
	var load []request
	for len(load) < connections*perConnection {
		r := request{command: writeCommand, forced: random.IntN(12) == 0, under: 1 + random.IntN(8)}
		r.offset, r.length = newRange(random)
		switch n := random.IntN(20); {
		case n < 2:
			r = request{command: flushCommand, under: r.under}
		case n < 4:
			r.command = trimCommand
		case n < 7:
			r.command = zeroCommand
		}
		load = append(load, r)
	}
	load[len(load)-1] = request{command: flushCommand, under: 1}
	return load
}

// newRange returns a range of sectors: one, some, or whole blocks.
func newRange(random *rand.Rand) (offset, length int64) {
	unit, most := int64(sector), int64(24)
	switch random.IntN(4) {
	case 0:
		most = 1
	case 1:
		unit, most = blockSize, 4
	case 2:
		unit, most = blockSize, longestRequest/blockSize
	}
	length = unit * (1 + random.Int64N(most))
	start, size := int64(busyAt), int64(busySize)
	if random.IntN(4) == 0 {
		start, size = 0, loadedSize
	}
	return start + unit*random.Int64N((size-length)/unit+1), length
}

const sectorMagic = "of write"

// sectorOfWrite is what request number n writes to a sector.
func sectorOfWrite(n, at int64) []byte {
	text := binary.LittleEndian.AppendUint64([]byte(sectorMagic), uint64(n))
	text = binary.LittleEndian.AppendUint64(text, uint64(at))
	random := rand.New(rand.NewPCG(uint64(n), uint64(at)))
	for len(text) < sector {
		text = binary.LittleEndian.AppendUint64(text, random.Uint64())
	}
	return text
}

// An event is something that the client of a load knows to have happened.
type event struct{ What, Request int32 }

// What may happen.
const (
	added     int32 = iota // the disk was made
	connected              // none of the requests before is under way any more
	sent                   // a request will be sent next
	answered               // a request was
	resetting              // the disk is next to be reset
	reset                  // it was
)

// A player plays a load to a service.
type player struct {
	t       *testing.T
	service *running
	load    []request
	card    *os.File // with O_DIRECT
	page    []byte   // for it

	mu     sync.Mutex
	events []event
}

// note notes an event and returns how many have happened.
func (p *player) note(what int32, n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event{what, int32(n)})
	return len(p.events)
}

// mark writes on the card how many events have happened. All writes to the card that were
// done before then come before this one in the log of the card's writes.
func (p *player) mark(happened int) {
	binary.LittleEndian.PutUint64(p.page, uint64(happened))
	must[int](p.t)(p.card.WriteAt(p.page[:sector], markAt))
}

// connection plays some of the requests on a connection.
func (p *player) connection(from, end int, hangUp bool) {
	conn := p.service.hold(5)
	p.note(connected, 0)
	answers := make(chan struct{}, end-from)
	go func() {
		defer close(answers)
		p.receive(conn, answers)
	}()
	underWay := 0
	wait := func(under int) {
		for ; underWay >= under; underWay-- {
			if _, ok := <-answers; !ok {
				p.t.Fatal("the service has hung up")
			}
		}
	}
	for n := from; n < end; n++ {
		wait(p.load[n].under)
		p.note(sent, n)
		must[int](p.t)(conn.Write(p.load[n].encode(n)))
		underWay++
	}
	if !hangUp {
		wait(1)
	}
	conn.Close()
	for range answers { // until no more can come
	}
}

// encode is the request on the wire, its number as the cookie.
func (r request) encode(n int) []byte {
	header := struct {
		Magic          uint32
		Flags, Command uint16
		Cookie, Offset uint64
		Length         uint32
	}{0x25609513, 0, r.command, uint64(n), uint64(r.offset), uint32(r.length)}
	if r.forced {
		header.Flags = 1
	}
	text, err := binary.Append(nil, binary.BigEndian, header)
	if err != nil {
		panic(err)
	}
	if r.command == writeCommand {
		for at := r.offset; at < r.offset+r.length; at += sector {
			text = append(text, sectorOfWrite(int64(n), at)...)
		}
	}
	return text
}

// receive takes answers until there is no connection.
func (p *player) receive(conn *held, answers chan<- struct{}) {
	for {
		var reply struct {
			Magic, Error uint32
			Cookie       uint64
		}
		if err := binary.Read(conn, binary.BigEndian, &reply); err != nil {
			return
		}
		if reply.Error != 0 {
			p.t.Errorf("request %d: error %d", reply.Cookie, reply.Error)
		}
		n := int(reply.Cookie)
		happened := p.note(answered, n)
		if p.load[n].forced || p.load[n].command == flushCommand {
			p.mark(happened)
		}
		answers <- struct{}{}
	}
}

// playLoad is what happens on the machine: a disk is made on the card's file system, a load
// played to it, and the disk reset.
func playLoad(t *testing.T) {
	for name, value := range map[string]string{
		// Much is to reach the card at other times than when the service syncs.
		"/proc/sys/vm/dirty_writeback_centisecs": "2",
		"/proc/sys/vm/dirty_expire_centisecs":    "2",
		// Memory is to hold still while the card reads it: see the package's comment.
		"/sys/block/vda/queue/stable_writes": "1",
	} {
		if err := os.WriteFile(name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	const device, dir = "/dev/vda", "/mnt"
	if err := unix.Mount(device, dir, "ext4", 0, "commit=1"); err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, load: newLoad()}
	p.card = must[*os.File](t)(os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT, 0))
	defer p.card.Close()
	p.page = must[[]byte](t)(unix.Mmap(-1, 0, historySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))

	d := Dir{Path: dir + "/" + diskDir}
	add(t, d, image(1), 5)
	p.mark(p.note(added, 0))
	p.service = start(t, d)
	for c := range connections {
		t.Logf("connection %d of %d", c+1, connections) // a silent machine would be given up
		p.connection(c*perConnection, (c+1)*perConnection, c%2 == 0)
	}
	p.service.stop()
	p.mark(p.note(resetting, 0))
	if err := d.Reset(5); err != nil {
		t.Fatal(err)
	}
	p.mark(p.note(reset, 0))

	history := must[[]byte](t)(binary.Append(nil, binary.LittleEndian, slices.Concat([]event{{0, int32(len(p.events))}}, p.events)))
	copy(p.page, history)
	must[int](t)(p.card.WriteAt(p.page, historyAt))
}
