package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of what clients can make the server hold or wait for.
const (
	maxConnections = 256
	maxHeader      = 16 << 10 // bytes
	headerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
)

// Serve answers requests that come to l until ctx ends. It closes l, and returns when
// the requests that had begun are answered.
func (s *Site) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { ended <- server.Shutdown(context.WithoutCancel(ctx)) })
	err := server.Serve(netutil.LimitListener(l, maxConnections))
	if stop() {
		return err // it was not asked to end
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, <-ended)
}
