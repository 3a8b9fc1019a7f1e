package serve

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
)

// TestEnd ends the server in the middle of a download. The download goes on to its end,
// and new connections are refused.
func TestEnd(t *testing.T) {
	c, err := provision.OpenController(build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := New(c, []node.Role{node.CBridge}, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + l.Addr().String() + "/cbridge.img"
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for { // until the listener is closed
		another, err := client.Head(url)
		if err != nil {
			break
		}
		another.Body.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended during a download: %v", err)
	default:
	}
	n, err := io.Copy(io.Discard, response.Body)
	if n != c.Size || err != nil {
		t.Errorf("%d bytes of %d came, %v", n, c.Size, err)
	}
	response.Body.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
