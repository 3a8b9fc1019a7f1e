package nbd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"clusterctrl/internal/linux/nbd"
)

const diskSize = 16 << 20

// A slice is a disk in memory.
type slice struct {
	mu      sync.RWMutex
	content []byte
}

func (s *slice) Size() int64             { return int64(len(s.content)) }
func (s *slice) Flush() error            { return nil }
func (s *slice) Trim(int64, int64) error { return nil }

func (s *slice) ReadAt(p []byte, offset int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return copy(p, s.content[offset:]), nil
}

func (s *slice) WriteAt(p []byte, offset int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copy(s.content[offset:], p), nil
}

func (s *slice) Zero(offset, length int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.content[offset : offset+length])
	return nil
}

// serve gives out a disk as p5 and returns its address.
func serve(t *testing.T, disk nbd.Disk) (uri string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := nbd.Server{
		Find: func(_ net.Addr, name string) (nbd.Disk, bool) { return disk, name == "p5" },
		List: func(net.Addr) []string { return []string{"p5"} },
	}
	var clients sync.WaitGroup
	clients.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			clients.Go(func() {
				if err := s.ServeConn(ctx, conn); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		clients.Wait()
	})
	return fmt.Sprintf("nbd://%v/p5", l.Addr())
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, stderr.String())
	}
	return string(out)
}

// noise is content that no two places share.
func noise(size int) []byte {
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(content)
	return content
}

func TestNBDInfo(t *testing.T) {
	uri := serve(t, &slice{content: make([]byte, diskSize)})
	var info struct {
		Protocol string
		TLS      bool
		Exports  []struct {
			Name string `json:"export-name"`
			Size int64  `json:"export-size"`

			ReadOnly bool `json:"is_read_only"`
			Flush    bool `json:"can_flush"`
			FUA      bool `json:"can_fua"`
			Trim     bool `json:"can_trim"`
			Zero     bool `json:"can_zero"`
			Multi    bool `json:"can_multi_conn"`
		}
	}
	text := run(t, "nbdinfo", "--json", uri)
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Exports) != 1 {
		t.Fatalf("nbdinfo: %s", text)
	}
	if e := info.Exports[0]; info.Protocol != "newstyle-fixed" || e.Name != "p5" || e.Size != diskSize || e.ReadOnly || !e.Flush || !e.FUA || !e.Trim || !e.Zero || e.Multi {
		t.Errorf("nbdinfo: %s", text)
	}
}

// TestCopies writes a disk and reads it back by programs of others.
func TestCopies(t *testing.T) {
	want := noise(diskSize)
	clear(want[3<<20 : 9<<20]) // which the programs send as zeroes
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		write, read func(uri string)
	}{
		{"nbdcopy", func(uri string) { run(t, "nbdcopy", "--flush", from, uri) }, func(uri string) { run(t, "nbdcopy", uri, to) }},
		{"qemu-img", func(uri string) { run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", from, uri) },
			func(uri string) { run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", uri, to) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := &slice{content: noise(diskSize)}
			uri := serve(t, disk)
			tt.write(uri)
			if !bytes.Equal(disk.content, want) {
				t.Error("what was written is not what is there")
			}
			tt.read(uri)
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
				t.Errorf("what was read is not what is there (%v)", err)
			}
			run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", from, uri)
		})
	}
}

// TestCommands has qemu-io do each command, in odd places and sizes.
func TestCommands(t *testing.T) {
	disk := &slice{content: make([]byte, diskSize)}
	uri := serve(t, disk)
	run(t, "qemu-io", "-f", "raw", "-t", "none",
		"-c", "write -P 0x11 0 2M",
		"-c", "write -f -P 0x22 513 1025",
		"-c", "write -z 1M 64k",
		"-c", "write -z -u 1088k 64k",
		"-c", "discard 4M 1M",
		"-c", "aio_write -P 0x33 8M 3M", "-c", "aio_write -P 0x44 12M 3M", "-c", "aio_flush",
		"-c", "flush",
		"-c", "read -P 0x22 513 1025", "-c", "read -P 0 1M 128k", "-c", "read -P 0x33 8M 3M", "-c", "read -P 0x44 12M 3M",
		uri)
	want := make([]byte, diskSize)
	fill := func(at, n int, b byte) { copy(want[at:], bytes.Repeat([]byte{b}, n)) }
	fill(0, 2<<20, 0x11)
	fill(513, 1025, 0x22)
	fill(1<<20, 128<<10, 0)
	fill(8<<20, 3<<20, 0x33)
	fill(12<<20, 3<<20, 0x44)
	if !bytes.Equal(disk.content, want) {
		t.Error("the disk is not what qemu-io wrote")
	}
}

// TestManyClients has as many clients as a cluster can have, all at once.
func TestManyClients(t *testing.T) {
	disk := &slice{content: noise(diskSize)}
	uri := serve(t, disk)
	dir := t.TempDir()
	var clients sync.WaitGroup
	busy := make(chan struct{}, 16) // processes; what they leave open stays connected
	for i := range 252 {
		clients.Go(func() {
			busy <- struct{}{}
			defer func() { <-busy }()
			to := filepath.Join(dir, fmt.Sprint(i))
			cmd := exec.Command("nbdcopy", uri, to)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("client %d: %v\n%s", i, err, out)
				return
			}
			got, err := os.ReadFile(to)
			if err != nil || !bytes.Equal(got, disk.content) {
				t.Errorf("client %d read something else (%v)", i, err)
			}
			os.Remove(to)
		})
	}
	clients.Wait()
}
