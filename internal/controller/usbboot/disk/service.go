package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"clusterctrl/internal/linux/nbd"
	"clusterctrl/internal/node"
)

// A Service gives each node its own disk, and knows a node by its address. It opens a disk
// when the node connects, so that disks may come and go while it runs.
type Service struct {
	Dir Dir
	// Vouch says why the machine that has a node's address cannot be that node. It may be
	// nil.
	Vouch func(node.ID) error
	// Report hears of what happens, from several goroutines at a time.
	Report func(id node.ID, what string)

	mu      sync.Mutex
	serving map[node.ID]*served
}

// A served disk is open as long as its node is connected.
type served struct {
	*opened // set by once, which takes the service's lock for that alone, not while it opens
	once    sync.Once
	err     error // of opening the disk

	// The service's lock guards these.
	users int         // connections that have not ended
	last  *connection // the only one that was not told to end

	closed chan struct{} // when the node is connected no more

	reading, writing meter
	trouble          atomic.Pointer[string] // why the last write failed, nil if it did not
}

// A connection is the only one of its node. A node that connects anew has lost its power, or
// has waited long for an answer and sends its requests again. So the connection before has
// to end first: none of its writes may come after a write of the new one.
type connection struct {
	net.Conn
	ended chan struct{} // closed when all that was asked for on it is done
}

// keepAlive finds out within half a minute that a node has lost its power.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// Serve takes connections until ctx ends. It then flushes and closes the disks, and returns
// nil. It closes the listener.
func (s *Service) Serve(ctx context.Context, nodes net.Listener) error {
	return accept(ctx, nodes, func(conn net.Conn) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(keepAlive)
		}
		id, ok := nodeAt(conn.RemoteAddr())
		if !ok {
			conn.Close()
			return
		}
		if err := s.client(ctx, id, conn); err != nil {
			s.Report(id, err.Error())
		}
	})
}

// accept serves the connections of a listener, each in a goroutine, until ctx ends.
func accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		clients.Go(func() { serve(conn) })
	}
}

// nodeAt returns the node that has an address on [node.NFSNet].
func nodeAt(addr net.Addr) (node.ID, bool) {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil || !node.NFSNet.Contains(at.Addr().Unmap()) {
		return 0, false
	}
	id := node.ID(at.Addr().Unmap().As4()[3])
	return id, id >= node.MinID && id <= node.MaxID
}

// client serves a connection of a node.
func (s *Service) client(ctx context.Context, id node.ID, conn net.Conn) error {
	var mine *served
	var c *connection
	defer func() {
		if mine != nil {
			s.release(id, mine, c)
		}
	}()
	var refused error
	server := nbd.Server{
		Find: func(_ net.Addr, name string) (nbd.Disk, bool) {
			if name != "" && name != id.String() {
				refused = fmt.Errorf("it asked for the disk %.16q, want its own", name)
				return nil, false
			}
			if mine == nil {
				c = &connection{conn, make(chan struct{})} // a client may ask again
				mine, refused = s.acquire(id, c)
			}
			return mine, mine != nil
		},
		List: func(net.Addr) []string { return []string{id.String()} },
	}
	if err := server.ServeConn(ctx, conn); err != nil {
		return err
	}
	return refused
}

// acquire gives a connection its node's disk, once the connection before it has ended. The
// first connection opens the disk.
func (s *Service) acquire(id node.ID, c *connection) (*served, error) {
	if s.Vouch != nil {
		if err := s.Vouch(id); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	d := s.serving[id]
	if d == nil {
		if s.serving == nil {
			s.serving = map[node.ID]*served{}
		}
		d = &served{closed: make(chan struct{})}
		s.serving[id] = d
	}
	d.users++
	before := d.last
	d.last = c
	s.mu.Unlock()
	if before != nil {
		before.Close()
		<-before.ended
	}
	d.once.Do(func() { s.open(id, d) })
	if d.err != nil {
		s.release(id, d, c)
		return nil, d.err
	}
	return d, nil
}

// open opens a disk. That may take long: a base that was not checked since it came is read
// whole and compared with its SHA-256.
func (s *Service) open(id node.ID, d *served) {
	disk, err := s.Dir.open(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.opened, d.err = disk, err; err == nil {
		s.Report(id, "connected")
	}
}

// release takes a connection off a disk, which is closed with the last.
func (s *Service) release(id node.ID, d *served, c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(c.ended)
	if d.users--; d.users > 0 {
		return
	}
	delete(s.serving, id)
	defer close(d.closed)
	if d.opened == nil {
		return
	}
	what := "disconnected"
	if err := d.Close(); err != nil {
		what += ": " + err.Error()
	}
	s.Report(id, what)
}

// disconnect ends a node's connection, and waits until its disk is closed.
func (s *Service) disconnect(ctx context.Context, id node.ID) {
	s.mu.Lock()
	d := s.serving[id]
	if d == nil {
		s.mu.Unlock()
		return
	}
	d.last.Close()
	s.mu.Unlock()
	select {
	case <-d.closed:
	case <-ctx.Done():
	}
}

// ReadAt implements [io.ReaderAt].
func (d *served) ReadAt(p []byte, offset int64) (int, error) {
	n, err := d.Disk.ReadAt(p, offset)
	d.reading.add(n, time.Now())
	return n, err
}

// WriteAt implements [io.WriterAt].
func (d *served) WriteAt(p []byte, offset int64) (int, error) {
	n, err := d.Disk.WriteAt(p, offset)
	d.writing.add(n, time.Now())
	return n, d.note(err)
}

// Flush implements [nbd.Disk].
func (d *served) Flush() error {
	if err := d.Disk.Flush(); err != nil {
		return d.note(err)
	}
	return nil
}

// Zero implements [nbd.Disk].
func (d *served) Zero(offset, length int64) error { return d.note(d.Disk.Zero(offset, length)) }

// note remembers why a write failed, until one succeeds.
func (d *served) note(err error) error {
	if err == nil {
		if d.trouble.Load() != nil {
			d.trouble.Store(nil)
		}
		return nil
	}
	text := full(err).Error()
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		text = full(pathError.Err).Error()
	}
	d.trouble.Store(&text)
	return err
}
