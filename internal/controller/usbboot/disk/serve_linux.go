package disk

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Run serves nodes on [node.InternalBridge], and programs on this machine, until ctx ends.
// It waits for the bridge, and for another one where the bridge is taken down.
func (s *Service) Run(ctx context.Context) error {
	programs, err := s.Dir.Listen()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Answer(ctx, programs) })
	g.Go(func() error {
		for ctx.Err() == nil {
			if err := s.serveBridge(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// serveBridge serves nodes for as long as there is this bridge.
func (s *Service) serveBridge(ctx context.Context) error {
	nodes, index, err := listen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		err := uevent.Wait(ctx, func() (gone bool, err error) { return bridgeIndex() != index, nil }, "net")
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error {
		defer cancel()
		return s.Serve(ctx, nodes)
	})
	return g.Wait()
}

// bridgeIndex is 0 where there is no bridge.
func bridgeIndex() int {
	link, err := net.InterfaceByName(node.InternalBridge)
	if err != nil {
		return 0
	}
	return link.Index
}

// listen waits for the bridge and listens there alone: nothing that comes in by another
// link gets an answer. The bridge's address may come later.
func listen(ctx context.Context) (l net.Listener, index int, err error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		controlErr := conn.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1),
				unix.BindToDevice(int(fd), node.InternalBridge))
		})
		return errors.Join(controlErr, err)
	}}
	at := netip.AddrPortFrom(node.ControllerNFSAddr, node.DiskPort).String()
	err = uevent.Wait(ctx, func() (bool, error) {
		if index = bridgeIndex(); index == 0 {
			return false, nil
		}
		var err error
		if l, err = config.Listen(ctx, "tcp4", at); errors.Is(err, unix.ENODEV) {
			return false, nil
		}
		return err == nil, err
	}, "net")
	return l, index, err
}
