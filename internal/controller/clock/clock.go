// Package clock gives nodes the time. A Pi has no clock that runs without power, and not
// every cluster has an internet. The protocol is SNTP, version 4 (RFC 4330), which is what
// NTP clients and systemd-timesyncd speak.
package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"
)

// Port is that of NTP.
const Port = 123

// ErrTaken says that another program of this machine gives the time.
var ErrTaken = errors.New("another program serves NTP here")

// Strata: how far a clock is from a reference. The kernel does not know whose time its
// clock follows; in the internet, that is stratum 1 to 3. A clock that follows none
// is still the one that a cluster can agree on.
const (
	following = 4
	alone     = 10
)

// Bounds of what a reply says of the clock: it may be off by so much.
const (
	precision  = 0x100 - 20   // as a signed power of two, in seconds: a microsecond
	dispersion = 1 << 16 / 10 // of 65536 a second: a tenth of a second
)

// localClock is the address that NTP servers give for the clock of their own machine, in the
// field for the server that they follow.
var localClock = []byte{127, 127, 1, 0}

// A packet of NTP without extensions has 48 bytes (RFC 4330, section 4).
const packetSize = 48

// Modes of packets.
const (
	client = 3
	server = 4
)

// Serve answers requests until ctx ends. synchronised says whether the clock follows
// another, better one. conn is closed.
func Serve(ctx context.Context, conn net.PacketConn, synchronised func() bool) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 1024) // what is behind a packet's first bytes does not matter
	for {
		n, from, err := conn.ReadFrom(buf)
		received := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		answer, ok := reply(buf[:n], received, synchronised())
		if !ok {
			continue
		}
		stamp(answer[40:], time.Now())
		conn.WriteTo(answer, from) // a client that has gone is no error of the server
	}
}

// reply makes the answer to a request, all but its time of departure. It reports whether
// there is one: a packet that is no request gets none, so that no two servers talk.
func reply(request []byte, received time.Time, synchronised bool) ([]byte, bool) {
	if len(request) < packetSize {
		return nil, false
	}
	version, mode := request[0]>>3&7, request[0]&7
	if mode != client || version < 1 || version > 4 {
		return nil, false
	}
	answer := make([]byte, packetSize)
	answer[0] = version<<3 | server
	answer[1] = alone
	if synchronised {
		answer[1] = following
	}
	answer[2] = request[2] // how often the client asks
	answer[3] = precision
	binary.BigEndian.PutUint32(answer[8:], dispersion)
	copy(answer[12:], localClock)
	stamp(answer[16:], received) // when the clock was last set
	copy(answer[24:32], request[40:48])
	stamp(answer[32:], received)
	return answer, true
}

// epoch is when NTP's time begins, in seconds before Unix's.
const epoch = 2208988800

// stamp writes a time as seconds since 1900, which begin anew in 2036, and their fraction.
func stamp(to []byte, t time.Time) {
	binary.BigEndian.PutUint32(to, uint32(t.Unix()+epoch))
	binary.BigEndian.PutUint32(to[4:], uint32(uint64(t.Nanosecond())<<32/uint64(time.Second)))
}
