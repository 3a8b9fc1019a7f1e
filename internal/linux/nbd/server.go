package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// A Server gives disks to clients.
type Server struct {
	// Find returns the disk of a name for a client, or false if the client may
	// have none of that name. The empty name is the client's default.
	Find func(client net.Addr, name string) (Disk, bool)
	// List names the disks that a client may have.
	List func(client net.Addr) []string
}

// handshakeTime is how long a client may take to say what it wants.
const handshakeTime = 30 * time.Second

// ServeConn serves one client until it disconnects, goes away, or ctx ends. It then
// flushes the disk and closes the connection. A client that leaves without a word is
// no error.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReaderSize(conn, 32<<10)
	h := handshake{
		in: in, out: conn,
		find: func(name string) (Disk, bool) { return s.Find(conn.RemoteAddr(), name) },
		list: func() []string { return s.List(conn.RemoteAddr()) },
	}
	limit := time.AfterFunc(handshakeTime, func() { conn.Close() })
	disk, err := h.run()
	limit.Stop()
	switch {
	case errors.Is(err, errEnded), hasGone(err):
		return nil
	case err != nil:
		return err
	}
	c := newClient(disk, in, conn, h.structured)
	err = c.serve()
	c.requests.Wait()
	if ctx.Err() != nil {
		err = nil // what was asked for before is done
	}
	return errors.Join(err, disk.Flush())
}

// A client is a connection behind its handshake.
type client struct {
	disk       Disk
	in         *bufio.Reader
	structured bool
	slots      chan struct{} // one for each request under way
	requests   sync.WaitGroup

	sending sync.Mutex // of a reply that is not to be mixed with others
	out     net.Conn
}

func newClient(disk Disk, in *bufio.Reader, out net.Conn, structured bool) *client {
	return &client{disk: disk, in: in, out: out, structured: structured, slots: make(chan struct{}, InFlight)}
}

// buffers hold pieces of data, for all clients.
var buffers = sync.Pool{New: func() any { return new([pieceSize]byte) }}

func (c *client) serve() error {
	for {
		var header [requestSize]byte
		if _, err := io.ReadFull(c.in, header[:]); err != nil {
			if hasGone(err) {
				return nil
			}
			return err
		}
		var r request
		if _, err := binary.Decode(header[:], binary.BigEndian, &r); err != nil {
			return err
		}
		if r.Magic != requestMagic {
			return fmt.Errorf("%w: a request begins with %#x", ErrProtocol, r.Magic)
		}
		if r.Command == cmdDisconnect {
			return nil
		}
		if err := c.dispatch(r); err != nil {
			return err
		}
	}
}

// hasGone reports whether a client has left, or lost its power, or was hung up on.
func hasGone(err error) bool {
	for _, gone := range []error{io.EOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, syscall.EHOSTUNREACH} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// dispatch has a request done, mostly at the same time as later requests. An error ends
// the connection.
func (c *client) dispatch(r request) error {
	c.slots <- struct{}{}
	refused := c.refuse(r)
	switch {
	case r.Command == cmdWrite && refused != 0:
		if _, err := io.CopyN(io.Discard, c.in, int64(r.Length)); err != nil {
			return err
		}
	case r.Command == cmdWrite:
		return c.write(r)
	case refused == 0 && r.Command == cmdRead:
		c.start(func() error { return c.read(r) })
		return nil
	case refused == 0:
		c.start(func() error { return c.done(r, number(c.other(r))) })
		return nil
	}
	c.start(func() error { return c.done(r, refused) })
	return nil
}

// start runs a request, whose slot it gives back. What fails in it is the
// connection, which the next read of a request will find out.
func (c *client) start(run func() error) {
	c.requests.Go(func() {
		defer func() { <-c.slots }()
		if run() != nil {
			c.out.Close()
		}
	})
}

// refuse returns the number of the error of a request that cannot be done, 0 if it
// can.
func (c *client) refuse(r request) uint32 {
	known, flags := true, uint16(0)
	switch r.Command {
	case cmdRead:
		flags = flagUnbroken
	case cmdWrite, cmdTrim, cmdFlush:
		flags = flagFUA
	case cmdWriteZeroes:
		flags = flagFUA | flagNoHole
	default:
		known = false
	}
	size, length := uint64(c.disk.Size()), uint64(r.Length)
	switch {
	case !known || r.Flags&^flags != 0:
		return errInvalid
	case r.Command == cmdFlush:
		return 0
	case r.Offset > size || length > size-r.Offset:
		if r.Command == cmdWrite || r.Command == cmdWriteZeroes {
			return errNoSpace
		}
		return errInvalid
	case length > maxRequest && (r.Command == cmdRead || r.Command == cmdWrite):
		return errOverflow
	}
	return 0
}

// write takes a write's data, the pieces of a long one one after the other.
func (c *client) write(r request) error {
	var failed error
	offset, left := int64(r.Offset), int64(r.Length)
	buf := buffers.Get().(*[pieceSize]byte)
	for {
		piece := buf[:min(left, pieceSize)]
		if _, err := io.ReadFull(c.in, piece); err != nil {
			return err
		}
		if left <= pieceSize {
			break
		}
		if failed == nil {
			_, failed = c.disk.WriteAt(piece, offset)
		}
		offset, left = offset+pieceSize, left-pieceSize
	}
	c.start(func() error {
		if failed == nil {
			_, failed = c.disk.WriteAt(buf[:left], offset)
		}
		buffers.Put(buf)
		return c.done(r, number(c.forced(r, failed)))
	})
	return nil
}

// other does a request that moves no data.
func (c *client) other(r request) error {
	var err error
	switch r.Command {
	case cmdFlush:
		return c.disk.Flush()
	case cmdTrim:
		err = c.disk.Trim(int64(r.Offset), int64(r.Length))
	case cmdWriteZeroes:
		err = c.disk.Zero(int64(r.Offset), int64(r.Length))
	}
	return c.forced(r, err)
}

// forced puts on stable storage what a request with FUA has done.
func (c *client) forced(r request, err error) error {
	if err == nil && r.Flags&flagFUA != 0 {
		return c.disk.Flush()
	}
	return err
}

// read sends what is asked for, the pieces of a long read one after the other.
func (c *client) read(r request) error {
	buf := buffers.Get().(*[pieceSize]byte)
	defer buffers.Put(buf)
	piece := buf[:min(r.Length, pieceSize)]
	if _, err := c.disk.ReadAt(piece, int64(r.Offset)); err != nil {
		return c.done(r, number(err))
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	if err := c.send(c.readHeader(r), piece); err != nil {
		return err
	}
	for sent := uint32(len(piece)); sent < r.Length; sent += uint32(len(piece)) {
		piece = buf[:min(r.Length-sent, pieceSize)]
		// The client already has the length, so the server can tell it of an error only
		// by hanging up.
		if _, err := c.disk.ReadAt(piece, int64(r.Offset)+int64(sent)); err != nil {
			return err
		}
		if err := c.send(piece); err != nil {
			return err
		}
	}
	return nil
}

// readHeader is what comes before the data of a read.
func (c *client) readHeader(r request) []byte {
	if !c.structured {
		return encode(simpleReply{simpleReplyMagic, 0, r.Cookie})
	}
	if r.Length == 0 {
		return encode(chunk{structuredReplyMagic, replyDone, chunkNone, r.Cookie, 0})
	}
	header := encode(chunk{structuredReplyMagic, replyDone, chunkData, r.Cookie, r.Length + 8})
	return binary.BigEndian.AppendUint64(header, r.Offset)
}

// done answers a request without data, or one that failed.
func (c *client) done(r request, number uint32) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.structured && r.Command == cmdRead {
		header := encode(chunk{structuredReplyMagic, replyDone, chunkError, r.Cookie, 6})
		return c.send(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(header, number), 0)) // no text
	}
	return c.send(encode(simpleReply{simpleReplyMagic, number, r.Cookie}))
}

func (c *client) send(parts ...[]byte) error {
	buffers := net.Buffers(parts)
	_, err := buffers.WriteTo(c.out)
	return err
}

func encode(header any) []byte {
	buf, err := binary.Append(nil, binary.BigEndian, header)
	if err != nil {
		panic(err) // a header that has no size is a mistake in this package
	}
	return buf
}

// number is an error's on the wire.
func number(err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errNoSpace
	case errors.Is(err, syscall.EPERM):
		return errPermission
	}
	return errIO
}
