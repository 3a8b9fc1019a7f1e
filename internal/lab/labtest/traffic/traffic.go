package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Port is where [Serve] listens.
const Port = 5001

// What a connection to a server begins with: whether its client sends or
// receives.
const (
	clientSends    = 's'
	clientReceives = 'r'
)

// Serve sends clients that want to receive as much as they take, and takes all that other
// clients send, until the listener is closed.
func Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var way [1]byte
			if _, err := io.ReadFull(c, way[:]); err != nil {
				return
			}
			if way[0] == clientReceives {
				io.Copy(c, zeros{})
			} else {
				io.Copy(onlyWriter{io.Discard}, c)
				c.Write(way[:]) // all is here
			}
		}()
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// An onlyWriter has io.Copy read into memory, as programs do.
type onlyWriter struct{ io.Writer }

// Figures are the measured properties of a cable.
type Figures struct {
	Ping           time.Duration // there and back, the median
	Sent, Received float64       // in bytes per second
}

// Measure measures the way to the server at addr. It takes three times the time.
func Measure(addr netip.Addr, each time.Duration) (Figures, error) {
	ping, err := ping(addr, each)
	if err != nil {
		return Figures{}, fmt.Errorf("ping %v: %w", addr, err)
	}
	sent, err := send(addr, each)
	if err != nil {
		return Figures{}, fmt.Errorf("send to %v: %w", addr, err)
	}
	received, err := receive(addr, each)
	if err != nil {
		return Figures{}, fmt.Errorf("receive from %v: %w", addr, err)
	}
	return Figures{ping, sent, received}, nil
}

func dial(addr netip.Addr, way byte) (*net.TCPConn, error) {
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, Port)))
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{way})
	return c, err
}

// send returns how fast bytes come to the other end.
func send(addr netip.Addr, length time.Duration) (rate float64, err error) {
	c, err := dial(addr, clientSends)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	begin := time.Now()
	var n int64
	for buf := make([]byte, 64<<10); n == 0 || time.Since(begin) < length; {
		written, err := c.Write(buf)
		if err != nil {
			return 0, err
		}
		n += int64(written)
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// receive returns how fast bytes come from the other end, from the first on.
func receive(addr netip.Addr, length time.Duration) (rate float64, err error) {
	c, err := dial(addr, clientReceives)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	first, err := c.Read(make([]byte, 1))
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	c.SetDeadline(begin.Add(length))
	n, err := io.Copy(onlyWriter{io.Discard}, c)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, errors.Join(err, errors.New("it ended before its time"))
	}
	return float64(int64(first)+n) / time.Since(begin).Seconds(), nil
}

// ping returns the median of ICMP's round trips, one after the other. The first
// ones, while both ends find that they are connected, do not count.
func ping(addr netip.Addr, length time.Duration) (time.Duration, error) {
	c, err := net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: addr.AsSlice()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := answered(c, 0); err != nil {
		return 0, err
	}
	var trips []time.Duration
	for begin := time.Now(); len(trips) == 0 || time.Since(begin) < length; {
		sent := time.Now()
		if err := answered(c, uint16(len(trips)+1)); err != nil {
			return 0, err
		}
		trips = append(trips, time.Since(sent))
	}
	slices.Sort(trips)
	return trips[len(trips)/2], nil
}

// answered sends an echo request of ping(8)'s size, again every second, until it
// is answered.
func answered(c *net.IPConn, number uint16) error {
	const echoRequest, echoReply, identifier = 8, 0, 0xc105
	request := make([]byte, 64)
	request[0] = echoRequest
	binary.BigEndian.PutUint16(request[4:], identifier)
	binary.BigEndian.PutUint16(request[6:], number)
	binary.BigEndian.PutUint16(request[2:], checksum(request))
	reply := make([]byte, 1500)
	for {
		if _, err := c.Write(request); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, _, err := c.ReadFrom(reply) // without the header that Read returns
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if n == len(request) && reply[0] == echoReply && string(reply[4:n]) == string(request[4:]) {
				return nil
			}
		}
	}
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(p []byte) uint16 {
	var sum uint32
	for ; len(p) > 1; p = p[2:] {
		sum += uint32(binary.BigEndian.Uint16(p))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}
