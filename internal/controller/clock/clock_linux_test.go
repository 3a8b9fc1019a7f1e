package clock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// serve starts a server at an address of this machine, and returns the address.
func serve(t *testing.T, synchronised bool) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	conn, err := Listen(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- Serve(ctx, conn, func() bool { return synchronised }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	return conn.LocalAddr().String()
}

// request is what systemd-timesyncd sends: version 4, mode 3, and its own time.
func request(version, mode byte) []byte {
	p := make([]byte, 48)
	p[0], p[2] = version<<3|mode, 6
	copy(p[40:], "its time")
	return p
}

func TestServe(t *testing.T) {
	for synchronised, stratum := range map[bool]byte{true: 4, false: 10} {
		conn, err := net.Dial("udp4", serve(t, synchronised))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// What is no request gets no answer: the first answer is that to the last packet.
		for _, p := range [][]byte{nil, {0x23}, request(4, 3)[:47], request(0, 3), request(5, 3), request(4, 4), request(4, 6), request(3, 3)} {
			if _, err := conn.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, 100)
		n, err := conn.Read(got)
		now := time.Now()
		if err != nil || n != 48 {
			t.Fatalf("%d bytes, %v; want 48", n, err)
		}
		if got[0] != 3<<3|4 || got[1] != stratum || got[2] != 6 || !bytes.Equal(got[24:32], []byte("its time")) {
			t.Errorf("synchronised: %v: % x; want version 3, mode 4, stratum %d, and what was asked", synchronised, got[:32], stratum)
		}
		since1900 := now.Sub(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
		for _, at := range []int{32, 40} {
			seconds := float64(binary.BigEndian.Uint64(got[at:])) / (1 << 32)
			if off := since1900 - seconds; off < -1 || off > 3600 { // a busy machine reads late
				t.Errorf("time at byte %d: %v, want about %v", at, seconds, since1900)
			}
		}
	}
}

func TestStamp(t *testing.T) {
	for at, want := range map[time.Time]uint64{
		time.Date(1970, 1, 1, 0, 0, 0, 5e8, time.UTC):       2208988800<<32 | 1<<31, // RFC 868
		time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC):       0xffffffff << 32,       // the last second of the era
		time.Date(2036, 2, 7, 6, 28, 16, 25e7, time.UTC):    1 << 30,
		time.Date(2000, 1, 1, 0, 0, 0, 999999999, time.UTC): 0xbc17c200<<32 | 0xfffffffb,
	} {
		got := make([]byte, 8)
		stamp(got, at)
		if n := binary.BigEndian.Uint64(got); n != want {
			t.Errorf("%v: %#x, want %#x", at, n, want)
		}
	}
}

// TestTaken: a program that the owner installed keeps the port, and an address that this
// machine does not have yet can be listened at.
func TestTaken(t *testing.T) {
	at := netip.MustParseAddrPort(serve(t, true))
	if _, err := Listen(context.Background(), at); !errors.Is(err, ErrTaken) {
		t.Errorf("a port that is taken: %v, want %v", err, ErrTaken)
	}
	conn, err := Listen(context.Background(), netip.MustParseAddrPort("172.19.181.254:0"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func FuzzReply(f *testing.F) {
	f.Add(request(4, 3), true)
	f.Add([]byte{0x1b}, false)
	f.Fuzz(func(t *testing.T, packet []byte, synchronised bool) {
		answer, ok := reply(packet, time.Unix(0, 0), synchronised)
		if ok != (answer != nil) || ok && (len(answer) > len(packet) || len(answer) != 48 || answer[0]&7 != 4) {
			t.Errorf("reply(% x) = % x, %v", packet, answer, ok)
		}
		if _, again := reply(answer, time.Unix(0, 0), true); again {
			t.Errorf("an answer gets an answer: % x", answer)
		}
	})
}
