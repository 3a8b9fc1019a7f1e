package nbd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// A memory is a disk in memory.
type memory struct {
	mu      sync.Mutex
	content []byte
	flushes int
	trims   int
	broken  error // what each use of it returns, if anything
}

func (m *memory) Size() int64 { return int64(len(m.content)) }

func (m *memory) ReadAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(p, m.content[offset:]), m.broken
}

func (m *memory) WriteAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return 0, m.broken
	}
	return copy(m.content[offset:], p), nil
}

func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushes++
	return m.broken
}

func (m *memory) Trim(int64, int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trims++
	return m.broken
}

func (m *memory) Zero(offset, length int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.content[offset : offset+length])
	return m.broken
}

// serverOf gives a disk to everybody, as "p5" and as the default.
func serverOf(disk Disk) *Server {
	return &Server{
		Find: func(_ net.Addr, name string) (Disk, bool) { return disk, name == "" || name == "p5" },
		List: func(net.Addr) []string { return []string{"p5"} },
	}
}

// connect returns both ends of a connection.
func connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// talk sends bytes to a server, and then no more. It returns all that the server
// answers.
func talk(t *testing.T, disk Disk, say []byte) ([]byte, error) {
	t.Helper()
	client, server := connect(t)
	defer client.Close()
	errs := make(chan error, 1)
	go func() { errs <- serverOf(disk).ServeConn(context.Background(), server) }()
	go func() {
		_, _ = client.Write(say) // the server may hang up before it has heard all
		_ = client.CloseWrite()
	}()
	heard, _ := io.ReadAll(client) // to the end, or to where the server hung up on us
	return heard, <-errs
}

func be(values ...any) []byte {
	var buf []byte
	for _, v := range values {
		var err error
		if buf, err = binary.Append(buf, binary.BigEndian, v); err != nil {
			panic(err)
		}
	}
	return buf
}

var (
	hello   = be(uint32(3))
	goP5    = be(uint64(optionMagic), uint32(7), uint32(8), uint32(2), []byte("p5"), uint16(0))
	goOther = be(uint64(optionMagic), uint32(7), uint32(8), uint32(2), []byte("p6"), uint16(0))
)

func TestHandshake(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  []byte
		want []byte // within the answer
		err  error
	}{
		{"unknown flag", be(uint32(7)), nil, ErrProtocol},
		{"old style", be(uint32(0)), nil, ErrProtocol},
		{"bad magic", be(uint32(3), uint64(1), uint32(7), uint32(0)), nil, ErrProtocol},
		{"abort", be(uint32(3), uint64(optionMagic), uint32(2), uint32(0)), be(uint64(optionReplyMagic), uint32(2), uint32(1), uint32(0)), nil},
		{"TLS", be(uint32(3), uint64(optionMagic), uint32(5), uint32(0)), be(uint64(optionReplyMagic), uint32(5), uint32(1<<31|1), uint32(0)), nil},
		{"list", be(uint32(3), uint64(optionMagic), uint32(3), uint32(0)), be(uint64(optionReplyMagic), uint32(3), uint32(2), uint32(6), uint32(2), []byte("p5")), nil},
		{"other disk", append(hello, goOther...), be(uint64(optionReplyMagic), uint32(7), uint32(1<<31|6), uint32(0)), nil},
		{"name too long", be(uint32(3), uint64(optionMagic), uint32(7), uint32(6), uint32(9), uint16(0)), be(uint64(optionReplyMagic), uint32(7), uint32(1<<31|3), uint32(0)), nil},
		{"option too long", append(be(uint32(3), uint64(optionMagic), uint32(7), uint32(5000)), make([]byte, 5000)...), be(uint64(optionReplyMagic), uint32(7), uint32(1<<31|9), uint32(0)), nil},
		{"go", append(hello, goP5...), be(uint64(optionReplyMagic), uint32(7), uint32(3), uint32(12), uint16(0), uint64(1<<20), uint16(0xed)), nil},
		{"oldest way", be(uint32(3), uint64(optionMagic), uint32(1), uint32(2), []byte("p5")), be(uint64(1<<20), uint16(0xed)), nil},
		{"nothing", nil, be(uint64(initMagic), uint64(optionMagic), uint16(3)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := talk(t, &memory{content: make([]byte, 1<<20)}, tt.say)
			if !bytes.Contains(got, tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("%x, %v\nwant %x, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// ask is a request with its data.
func ask(flags, command uint16, offset uint64, length uint32, data ...byte) []byte {
	return be(uint32(requestMagic), flags, command, uint64(0xc00c1e), offset, length, data)
}

func TestRequests(t *testing.T) {
	const size = 1 << 20
	answer := func(number uint32, data ...byte) []byte {
		return be(uint32(simpleReplyMagic), number, uint64(0xc00c1e), data)
	}
	for _, tt := range []struct {
		name    string
		request []byte
		want    []byte
		broken  error
	}{
		{"read", ask(0, 0, 4, 3), answer(0, 5, 6, 7), nil},
		{"read to the end", ask(0, 0, size-1, 1), answer(0, 0), nil},
		{"read over the end", ask(0, 0, size-1, 2), answer(errInvalid), nil},
		{"read at 2^64-1", ask(0, 0, 1<<64-1, 2), answer(errInvalid), nil},
		{"read of too much", ask(0, 0, 0, 1<<31), answer(errInvalid), nil},
		{"write", ask(0, 1, 8, 2, 1, 2), answer(0), nil},
		{"write at once safe", ask(1, 1, 8, 2, 1, 2), answer(0), nil},
		{"write over the end", ask(0, 1, size-1, 2, 1, 2), answer(errNoSpace), nil},
		{"flush", ask(0, 3, 0, 0), answer(0), nil},
		{"trim", ask(0, 4, 0, 4096), answer(0), nil},
		{"zeroes", ask(2, 6, 0, size), answer(0), nil},
		{"zeroes over the end", ask(2, 6, 1, size), answer(errNoSpace), nil},
		{"unknown", ask(0, 9, 0, 0), answer(errInvalid), nil},
		{"unknown flag", ask(8, 0, 0, 1), answer(errInvalid), nil},
		{"disk is full", ask(0, 1, 0, 1, 1), answer(errNoSpace), syscall.ENOSPC},
		{"disk is broken", ask(0, 1, 0, 1, 1), answer(errIO), io.ErrClosedPipe},
		{"flush of a broken disk", ask(0, 3, 0, 0), answer(errIO), io.ErrClosedPipe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := &memory{content: make([]byte, size), broken: tt.broken}
			for i := range 64 {
				disk.content[i] = byte(i + 1)
			}
			got, _ := talk(t, disk, append(append(bytes.Clone(hello), goP5...), tt.request...))
			if !bytes.HasSuffix(got, tt.want) {
				t.Errorf("got %x\nwant it to end with %x", got, tt.want)
			}
		})
	}
}

// TestSafeAtOnce holds that a write with FUA is flushed before it is answered.
func TestSafeAtOnce(t *testing.T) {
	disk := &memory{content: make([]byte, 1<<20)}
	if _, err := talk(t, disk, append(append(bytes.Clone(hello), goP5...), ask(1, 1, 8, 2, 1, 2)...)); err != nil {
		t.Fatal(err)
	}
	if disk.flushes != 2 || disk.content[8] != 1 { // the other is the connection's end
		t.Errorf("%d flushes, want 2", disk.flushes)
	}
}

// FuzzServe gives a server any bytes. It must hang up or wait for more, and stay
// within the disk.
func FuzzServe(f *testing.F) {
	f.Add(append(append(bytes.Clone(hello), goP5...), ask(0, 1, 8, 2, 1, 2)...))
	f.Add(append(append(bytes.Clone(hello), goP5...), ask(0, 0, 0, 1<<20)...))
	f.Add(be(uint32(3), uint64(optionMagic), uint32(8), uint32(0), goP5, ask(4, 0, 0, 9)))
	f.Fuzz(func(t *testing.T, say []byte) {
		h := handshake{in: bufio.NewReader(bytes.NewReader(say)), out: io.Discard,
			find: func(string) (Disk, bool) { return &memory{content: make([]byte, 1<<16)}, true },
			list: func() []string { return nil }}
		disk, err := h.run()
		if err != nil || disk == nil {
			return
		}
		client, server := net.Pipe()
		go io.Copy(io.Discard, client)
		c := newClient(disk, h.in, server, h.structured)
		_ = c.serve()
		c.requests.Wait()
		server.Close()
	})
}
