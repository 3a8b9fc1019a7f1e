package lab

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestListenAlone starts several clusters at once where an earlier one was killed: one of
// them runs, and the others say why they do not.
func TestListenAlone(t *testing.T) {
	for range 20 {
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		leaveSocket(t)
		const clusters = 8
		sockets, errs := make(chan net.Listener, clusters), make(chan error, clusters)
		var starting sync.WaitGroup
		for range clusters {
			starting.Go(func() {
				if socket, err := listenAlone(); err != nil {
					errs <- err
				} else {
					sockets <- socket
				}
			})
		}
		starting.Wait()
		close(sockets)
		close(errs)
		if len(sockets) != 1 {
			t.Errorf("%d clusters are up, want 1", len(sockets))
		}
		for socket := range sockets {
			if _, err := os.Stat(socket.Addr().String()); err != nil {
				t.Errorf("nobody finds a cluster that is up: %v", err)
			}
			socket.Close()
		}
		for err := range errs {
			if !strings.Contains(err.Error(), "is up already") {
				t.Error(err)
			}
		}
	}
}

// leaveSocket leaves a socket behind, as a killed cluster does.
func leaveSocket(t *testing.T) {
	t.Helper()
	path, err := Socket()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	socket.SetUnlinkOnClose(false)
	socket.Close()
}
