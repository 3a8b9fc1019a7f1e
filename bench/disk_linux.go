package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"

	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/node"
)

// diskVerb has this program serve a disk at a socket, for the scripts.
const diskVerb = "serve-disk"

// benched is the node whose disk is measured.
const benched = node.MinID

// diskBase is the size of the base of the disk that is measured, in bytes.
const diskBase = 1 << 30

// measureDisk has one client read and write a disk over a base three times: served by our
// program, by qemu-nbd and by nbdkit. nbdkit keeps changes until it ends, and flushes nothing.
func (b bench) measureDisk(ctx context.Context) (err error) {
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	disks := disk.Dir{Path: filepath.Join(b.dir, "disks")}
	defer func() { err = errors.Join(err, os.RemoveAll(disks.Path)) }()
	err = disks.Add(ctx, disk.Addition{
		Unpack: func(to *os.File) error {
			_, err := io.CopyN(to, rand.NewChaCha8([32]byte{}), diskBase)
			return err
		},
		Sectors: func(string, []node.ID) ([]disk.Sector, error) { return make([]disk.Sector, 1), nil },
	}, benched)
	if err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(disks.Path, "base", "*.img"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("bases %q: want one: %w", found, err)
	}
	b.base.name = found[0]
	s, err := b.openSite(ctx, onDisk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.env = append(s.env, "DISKS="+disks.Path)
	return s.measureDisk(ctx)
}

func (s *site) measureDisk(ctx context.Context) error {
	const ours, qemu, kit = "disk serve", "qemu-nbd, qcow2", "nbdkit --filter=cow"
	for _, work := range []struct{ title, flags string }{
		{"128 KiB reads, one after the other", "-s 128k -c 8192"},
		{"4 KiB reads, scattered", "-s 4k -S 4100096 -c 50000"},
		{"128 KiB writes, one after the other, flushed", "-w -s 128k -c 4096 --flush-interval=1024"},
		{"4 KiB writes, scattered, flushed", "-w -s 4k -S 4100096 -c 20000 --flush-interval=1000"},
	} {
		script := func(server string) string {
			return server + ` &
until [ -S socket ]; do kill -0 $!; done
qemu-img bench -q -f raw -d 16 ` + work.flags + ` "nbd+unix:///?socket=$PWD/socket"
kill $!; wait || true`
		}
		err := s.hold(ctx, contest{work.title + ", on " + s.title, []entry{
			{ours, script(`"$BENCH" ` + diskVerb + ` "$DISKS" socket`)},
			{qemu, `qemu-img create -q -f qcow2 -F raw -b "$BASE" own; ` + script(`qemu-nbd -t -f qcow2 --discard=unmap -k "$PWD/socket" own`)},
			{kit, script(`TMPDIR=$PWD nbdkit -f -U "$PWD/socket" --filter=cow file "$BASE"`)},
		}, []goal{faster(ours, qemu, 1), faster(ours, kit, 1)}})
		if err != nil {
			return err
		}
	}
	return nil
}

// runDisk does "serve-disk DISKS SOCKET": it resets the disk and serves it until it is told
// to end.
func runDisk(ctx context.Context, args []string) error {
	disks := disk.Dir{Path: args[1]}
	if err := disks.Reset(benched); err != nil {
		return err
	}
	l, err := net.Listen("unix", args[2])
	if err != nil {
		return err
	}
	s := disk.Service{Dir: disks, Report: func(node.ID, string) {}}
	return s.Serve(ctx, local{l})
}

// A local listener's clients are all at the address of the node that is measured.
type local struct{ net.Listener }

func (l local) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return localConn{conn.(*net.UnixConn)}, nil
}

// A localConn keeps the connection's type, by which a reply's header and data are sent in
// one system call, as over TCP.
type localConn struct{ *net.UnixConn }

func (localConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: benched.NFSAddr().AsSlice()} }
