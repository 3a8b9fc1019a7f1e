package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"clusterctrl/internal/lab/labtest/traffic"
	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/gadget"
	"golang.org/x/sys/unix"
)

// cables measures what each kind of network card is worth.
func cables(rounds int) error {
	host, err := traffic.NewFarEnd()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := host.Do(serveRoot); err != nil {
		return err
	}
	for range rounds {
		for _, f := range node.Gadgets {
			if err := measure(host, f); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
	}
	return nil
}

// What a node reads over NFS.
const (
	served     = "/served"
	mounted    = "/mounted"
	bigFile    = "file"
	fileSize   = 64 << 20 // bytes
	blockSize  = 4096
	readBlocks = 2000
)

// serveRoot exports a directory in memory with one file.
func serveRoot() error {
	for _, dir := range []string{served, mounted} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", served, "tmpfs", 0, ""); err != nil {
		return err
	}
	data := make([]byte, fileSize)
	rand.Read(data)
	if err := os.WriteFile(filepath.Join(served, bigFile), data, 0o644); err != nil {
		return err
	}
	return traffic.ServeFiles(served, number.Addr())
}

// measure measures a cable from the node's end, and prints nanoseconds of a ping, bytes a
// second of TCP to the controller and to the node, and of NFS: bytes a second, and blocks a
// second from random places.
func measure(host *traffic.FarEnd, f node.Gadget) error {
	if err := settle(f); err != nil {
		return err
	}
	if _, err := gadget.Start(context.Background(), gadget.Options{}); err != nil {
		return err
	}
	var cards []string
	if err := await("net", func() bool { cards = glob(device + "/*:1.0/net/*"); return len(cards) == 1 }); err != nil {
		return err
	}
	card := filepath.Base(cards[0])
	if err := host.Join(card, node.ControllerAddr, node.GadgetLink, number.Addr()); err != nil {
		return err
	}
	figures, err := measureTCP(host)
	if err != nil {
		return err
	}
	whole, random, err := measureNFS()
	if err != nil {
		return err
	}
	fmt.Println(f, figures.Ping.Nanoseconds(), int64(figures.Sent), int64(figures.Received), int64(whole), int64(random))
	return stop()
}

func measureTCP(host *traffic.FarEnd) (traffic.Figures, error) {
	var server net.Listener
	err := host.Do(func() (err error) {
		server, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(node.ControllerAddr, traffic.Port)))
		return err
	})
	if err != nil {
		return traffic.Figures{}, err
	}
	defer server.Close()
	go traffic.Serve(server)
	return traffic.Measure(node.ControllerAddr, 3*time.Second)
}

// measureNFS returns bytes a second of a whole file, and blocks a second from random places
// of it, one after the other.
func measureNFS() (whole, random float64, err error) {
	options := fmt.Sprintf("vers=4.2,proto=tcp,addr=%v,clientaddr=%v", node.ControllerAddr, number.Addr())
	if err := unix.Mount(node.ControllerAddr.String()+":/", mounted, "nfs4", 0, options); err != nil {
		return 0, 0, fmt.Errorf("nfs: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(mounted, 0)) }()
	name := filepath.Join(mounted, bigFile)
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	whole = float64(n) / time.Since(begin).Seconds()
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, 0, err
	}
	if n != fileSize {
		return 0, 0, fmt.Errorf("%s: %d bytes, want %d", name, n, fileSize)
	}
	// Past the cache; NFS, unlike a disk, takes a buffer at any place.
	if f, err = os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0); err != nil {
		return 0, 0, err
	}
	defer f.Close()
	block := make([]byte, blockSize)
	begin = time.Now()
	for range readBlocks {
		if _, err := f.ReadAt(block, mathrand.Int64N(fileSize/blockSize)*blockSize); err != nil {
			return 0, 0, err
		}
	}
	return whole, readBlocks / time.Since(begin).Seconds(), nil
}
