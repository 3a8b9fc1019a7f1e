package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/guest"
	"clusterctrl/internal/linux/nbd"
	"clusterctrl/internal/linux/uevent"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the console shows at the end.
const (
	passed = "nbd: passed"
	failed = "nbd: failed"
)

func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		guest.Main(func() error {
			os.Args = []string{"init", "-test.v", "-test.run=^TestMachine$"}
			if m.Run() != 0 {
				fmt.Println(failed)
				return nil
			}
			fmt.Println(passed)
			return nil
		})
	}
	os.Exit(m.Run())
}

// TestMachine has Linux's own client use a disk: it boots a virtual machine whose only
// program is this test.
func TestMachine(t *testing.T) {
	if os.Getpid() == 1 {
		inMachine(t)
		return
	}
	kernel := labtest.NewKernel(t, labtest.AMD64)
	init := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", init, ".")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	var console bytes.Buffer
	m, err := lab.New(t.Context(), lab.Config{
		Model:      "amd64",
		Transcript: &console,
		Software: &lab.Software{
			Kernel:      kernel.Image,
			Initramfs:   kernel.Initramfs(t, labtest.Initramfs{Init: init, Modules: []string{"nbd"}}),
			CommandLine: "quiet panic=-1",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	boot, err := m.Boot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := boot.Expect(t.Context(), passed, failed)
	if err == nil {
		_, err = boot.Wait()
	}
	if err := errors.Join(err, m.Close()); err != nil || verdict != passed {
		t.Errorf("%q, %v", verdict, err)
	}
	if t.Failed() || testing.Verbose() {
		t.Log(console.String())
	}
}

// A host gives out one disk and can hang up on its clients.
type host struct {
	disk *slice
	addr string

	mu    sync.Mutex
	conns []net.Conn
}

func (h *host) run(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	s := nbd.Server{
		Find: func(_ net.Addr, name string) (nbd.Disk, bool) { return h.disk, name == "p5" },
		List: func(net.Addr) []string { return nil },
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns = append(h.conns, conn)
			h.mu.Unlock()
			go s.ServeConn(context.Background(), conn)
		}
	}()
}

// hangUp ends all connections.
func (h *host) hangUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.Close()
	}
	h.conns = nil
}

func (h *host) negotiate(t *testing.T, name string) (*nbd.Negotiated, error) {
	t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := nbd.Negotiate(conn.(*net.TCPConn), name)
	if err != nil {
		conn.Close()
	}
	return n, err
}

func inMachine(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	loopback, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(loopback))

	h := &host{disk: &slice{content: noise(diskSize)}}
	partition(h.disk.content)
	h.run(t)
	if _, err := h.negotiate(t, "p6"); err == nil {
		t.Error("another node's disk was given out")
	}
	n, err := h.negotiate(t, "p5")
	must(err)
	must(n.Connect(0, nbd.Timeouts{Dead: 10 * time.Minute}))

	// Its partition appears once somebody has opened it.
	disk, err := os.OpenFile("/dev/nbd0", os.O_RDWR|unix.O_DIRECT, 0)
	must(err)
	defer disk.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	must(uevent.Wait(ctx, func() (bool, error) {
		_, err := os.Stat("/dev/nbd0p1")
		return err == nil, nil
	}, "block"))

	buf := aligned(1 << 20)
	_, err = disk.ReadAt(buf, 4<<20)
	must(err)
	if !bytes.Equal(buf, h.disk.content[4<<20:5<<20]) {
		t.Error("the kernel read something else")
	}
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	_, err = disk.WriteAt(buf, 8<<20)
	must(err)
	must(disk.Sync())
	if !bytes.Equal(buf, h.disk.content[8<<20:9<<20]) {
		t.Error("the kernel wrote something else")
	}
	must(discard(disk, 10<<20, 1<<20))

	// The server restarts under load: what is asked for meanwhile is answered by the
	// next connection.
	listening := make(chan struct{})
	reconnected := make(chan error, 1)
	go func() {
		_ = nbd.LinkDead(func() { close(listening) }, func(index int) error {
			n, err := h.negotiate(t, "p5")
			if err == nil {
				err = n.Reconnect(index)
			}
			reconnected <- err
			return nil
		})
	}()
	<-listening
	h.hangUp()
	_, err = disk.ReadAt(buf, 5<<20)
	must(err)
	must(<-reconnected)
	if !bytes.Equal(buf, h.disk.content[5<<20:6<<20]) {
		t.Error("after a new connection, the kernel read something else")
	}
	must(disk.Close())
}

// partition writes a table with one partition of 1 MiB.
func partition(disk []byte) {
	entry := disk[446:512]
	clear(entry)
	entry[4] = 0x83
	binary.LittleEndian.PutUint32(entry[8:], 2048)
	binary.LittleEndian.PutUint32(entry[12:], 2048)
	entry[64], entry[65] = 0x55, 0xaa
}

// aligned is memory that O_DIRECT takes.
func aligned(size int) []byte {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return memory
}

// discard is the ioctl BLKDISCARD of linux/fs.h.
func discard(disk *os.File, offset, length uint64) error {
	span := [2]uint64{offset, length}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return errno
	}
	return nil
}
