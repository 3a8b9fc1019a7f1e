package nbd

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"clusterctrl/internal/format/mbr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Negotiated connection has agreed with a server on a disk.
type Negotiated struct {
	conn  *net.TCPConn
	size  uint64
	flags uint16
}

// Negotiate asks a server for the disk of a name. It takes the connection over if it
// succeeds.
func Negotiate(conn *net.TCPConn, name string) (*Negotiated, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	// Not one byte more than the handshake may be read: the rest is the kernel's.
	n := &Negotiated{conn: conn}
	if err := n.greet(); err != nil {
		return nil, fmt.Errorf("%v: %w", conn.RemoteAddr(), err)
	}
	if err := n.choose(name); err != nil {
		return nil, fmt.Errorf("%v: %w", conn.RemoteAddr(), err)
	}
	return n, conn.SetDeadline(time.Time{})
}

func (n *Negotiated) greet() error {
	var hello struct {
		Init, Option uint64
		Flags        uint16
	}
	if err := binary.Read(n.conn, binary.BigEndian, &hello); err != nil {
		return err
	}
	if hello.Init != initMagic || hello.Option != optionMagic || hello.Flags&fixedNewstyle == 0 {
		return fmt.Errorf("%w: it greets with %#x, %#x, flags %#x", ErrProtocol, hello.Init, hello.Option, hello.Flags)
	}
	return binary.Write(n.conn, binary.BigEndian, uint32(fixedNewstyle|hello.Flags&noZeroes))
}

// choose asks for a disk and reads what the server says of it.
func (n *Negotiated) choose(name string) error {
	data := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	data = append(append(data, name...), 0, 0) // and no further information
	out := bufio.NewWriter(n.conn)
	_ = binary.Write(out, binary.BigEndian, optionHeader{optionMagic, optGo, uint32(len(data))})
	_, _ = out.Write(data)
	if err := out.Flush(); err != nil {
		return err
	}
	for {
		var r optionReply
		if err := binary.Read(n.conn, binary.BigEndian, &r); err != nil {
			return err
		}
		if r.Magic != optionReplyMagic || r.Option != optGo || r.Length > maxOption {
			return fmt.Errorf("%w: a reply of %+v", ErrProtocol, r)
		}
		data := make([]byte, r.Length)
		if _, err := io.ReadFull(n.conn, data); err != nil {
			return err
		}
		switch {
		case r.Kind == repACK && n.size > 0:
			return nil
		case r.Kind == repInfo && len(data) == 12 && binary.BigEndian.Uint16(data) == infoExport:
			n.size, n.flags = binary.BigEndian.Uint64(data[2:]), binary.BigEndian.Uint16(data[10:])
		case r.Kind == repInfo:
		case r.Kind == repErrUnknown:
			return fmt.Errorf("the server has no disk %q for this machine", name)
		default:
			return fmt.Errorf("the server does not give out disk %q (reply %#x)", name, r.Kind)
		}
	}
}

// Size is the size of the disk in bytes.
func (n *Negotiated) Size() uint64 { return n.size }

// Close ends a connection that the kernel is not given.
func (n *Negotiated) Close() error { return n.conn.Close() }

// The kernel's generic netlink family for its client, with commands and attributes
// (linux/nbd-netlink.h).
const (
	family  = "nbd"
	group   = "nbd_mc_group"
	release = 1 // of the family

	nlConnect     = 1
	nlReconfigure = 3
	nlLinkDead    = 4

	attrIndex     = 1
	attrSize      = 2
	attrBlockSize = 3
	attrTimeout   = 4
	attrFlags     = 5
	attrSockets   = 7
	attrDead      = 8

	sockItem = 1
	sockFD   = 1
)

// Timeouts of a connected disk. A request that is not answered in time ends its
// connection; without a connection, requests wait for a new one.
type Timeouts struct {
	Request time.Duration // 0: for ever
	Dead    time.Duration // until requests fail
}

// Connect makes the disk /dev/nbd<index>. From then on the kernel speaks with the
// server, and needs no process for it, except to be given another connection when
// one ends: see [LinkDead] and [Reconnect].
func (n *Negotiated) Connect(index int, t Timeouts) error {
	return n.tell(nlConnect, index,
		nl.NewRtAttr(attrSize, nl.Uint64Attr(n.size)),
		nl.NewRtAttr(attrBlockSize, nl.Uint64Attr(mbr.SectorSize)),
		nl.NewRtAttr(attrTimeout, nl.Uint64Attr(uint64(t.Request/time.Second))),
		nl.NewRtAttr(attrDead, nl.Uint64Attr(uint64(t.Dead/time.Second))),
		nl.NewRtAttr(attrFlags, nl.Uint64Attr(uint64(n.flags))),
	)
}

// Reconnect gives the kernel a new connection for /dev/nbd<index>.
func (n *Negotiated) Reconnect(index int) error { return n.tell(nlReconfigure, index) }

// tell sends a command with the connection's socket.
func (n *Negotiated) tell(command uint8, index int, attrs ...*nl.RtAttr) error {
	file, err := n.conn.File()
	if err != nil {
		return err
	}
	defer func() { // the kernel has its own hold of the socket
		file.Close()
		n.conn.Close()
	}()
	sockets := nl.NewRtAttr(attrSockets|unix.NLA_F_NESTED, nil)
	item := sockets.AddRtAttr(sockItem|unix.NLA_F_NESTED, nil)
	item.AddRtAttr(sockFD, nl.Uint32Attr(uint32(file.Fd())))
	return tell(command, index, append(attrs, sockets)...)
}

func tell(command uint8, index int, attrs ...*nl.RtAttr) error {
	f, err := netlink.GenlFamilyGet(family)
	if err != nil {
		return fmt.Errorf("this kernel has no network block devices: %w", err)
	}
	request := nl.NewNetlinkRequest(int(f.ID), unix.NLM_F_ACK)
	request.AddData(&nl.Genlmsg{Command: command, Version: release})
	request.AddData(nl.NewRtAttr(attrIndex, nl.Uint32Attr(uint32(index))))
	for _, a := range attrs {
		request.AddData(a)
	}
	if _, err := request.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("/dev/nbd%d: %w", index, err)
	}
	return nil
}

// LinkDead calls lost whenever the kernel says that a disk has lost a connection, with
// the disk's index. It calls ready once it listens. It returns only on an error of
// lost or of its own.
func LinkDead(ready func(), lost func(index int) error) error {
	socket, err := subscribe()
	if err != nil {
		return err
	}
	defer socket.Close()
	ready()
	for {
		messages, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if index, ok := deadIndex(m.Data); ok {
				if err := lost(index); err != nil {
					return err
				}
			}
		}
	}
}

// subscribe listens to what the kernel's client has to say.
func subscribe() (*nl.NetlinkSocket, error) {
	f, err := netlink.GenlFamilyGet(family)
	if err != nil {
		return nil, fmt.Errorf("this kernel has no network block devices: %w", err)
	}
	at := slices.IndexFunc(f.Groups, func(g netlink.GenlMulticastGroup) bool { return g.Name == group })
	if at < 0 {
		return nil, fmt.Errorf("the kernel's family %s has no group %s", family, group)
	}
	socket, err := nl.Subscribe(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(f.Groups[at].ID))
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("listen to %s: %w", group, err)
	}
	return socket, nil
}

// deadIndex reads the index of the disk out of the message that a link is dead.
func deadIndex(message []byte) (int, bool) {
	if len(message) < nl.SizeofGenlmsg || message[0] != nlLinkDead {
		return 0, false
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, false
	}
	for _, a := range attrs {
		if a.Attr.Type == attrIndex && len(a.Value) == 4 {
			return int(binary.NativeEndian.Uint32(a.Value)), true
		}
	}
	return 0, false
}
