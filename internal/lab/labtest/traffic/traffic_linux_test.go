package traffic

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestMeasure measures the machine's loopback.
func TestMeasure(t *testing.T) {
	here := netip.MustParseAddr("127.0.0.1")
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(here, Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go Serve(l)
	f, err := Measure(here, 50*time.Millisecond)
	if err != nil || f.Ping <= 0 || f.Sent <= 0 || f.Received <= 0 {
		t.Errorf("Measure() = %+v, %v", f, err)
	}
}
