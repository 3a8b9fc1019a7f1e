package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// measureCompress compares compressed outputs: one, and then as many nodes as there
// can be.
func measureCompress(ctx context.Context, s *site) error {
	const (
		first, all   = "build --compress zst", "build --compress zst, 252 nodes"
		ourXZ, ourGz = "build --compress xz", "build --compress gz"
		xz, zstd, gz = "xz -dc, xz -T2 -6", "xz -dc, zstd -T2", "xz -dc, gzip"
	)
	build := func(format string, nodes int) string {
		return fmt.Sprintf(`"$CLUSTERCTRL" build "$BASE" --nodes %d --no-nat --compress %s -q; sync -f .`, nodes, format)
	}
	byHand := func(compress string) string {
		return fmt.Sprintf(`xz -dc "$BASE" >base.img; %s base.img; rm -f base.img; sync -f .`, compress)
	}
	return s.hold(ctx, contest{"base.img.xz to compressed images, on " + s.title, []entry{
		{first, build("zst", 0)}, {all, build("zst", 252)}, {zstd, byHand("zstd -q -T2")},
		{ourGz, build("gz", 0)}, {gz, byHand("gzip")},
		{ourXZ, build("xz", 0)}, {xz, byHand("xz -T2 -6")},
	}, []goal{
		later(all, first, 500*time.Millisecond),
		faster(first, zstd, 1), noLarger(first, zstd, 2),
		faster(ourGz, gz, 1), noLarger(ourGz, gz, 5),
		faster(ourXZ, xz, 1), noLarger(ourXZ, xz, 2),
	}})
}

// later is the goal to take hardly more time than another entry.
func later(ours, first string, limit time.Duration) goal {
	return func(m map[string]cost) string {
		more := m[ours].wall - m[first].wall
		return fmt.Sprintf("%s: %s takes %.2f s more than %s; goal %.2f s", verdict(more < limit), ours, more.Seconds(), first, limit.Seconds())
	}
}

// noLarger is the goal to make a file at most so many percent larger than theirs.
func noLarger(ours, theirs string, percent float64) goal {
	return func(m map[string]cost) string {
		more := 100 * (float64(m[ours].largest)/float64(m[theirs].largest) - 1)
		return fmt.Sprintf("%s: what %s makes is %.1f %% larger than that of %s; goal %.1f %%", verdict(more <= percent), ours, more, theirs, percent)
	}
}

// nginx serves the files of a directory: the configuration, with directory and
// address left open.
const nginx = `daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log; events {}
http { access_log off; sendfile on; tcp_nopush on;
client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen %[2]s; root %[1]s; } }
`

// measureServe compares images that are made while they are sent with files that
// are sent.
func measureServe(ctx context.Context, s *site) (err error) {
	if _, err := s.makeController(ctx); err != nil {
		return err
	}
	ours, err := s.startServe(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.end()) }()
	theirs, err := s.startNginx(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.end()) }()
	const serve, files = "clusterctrl serve", "nginx, of a file"
	fetch := func(address string) string {
		return fmt.Sprintf("for n in 1 2 3; do curl -fsS %s/p1.img -o /dev/null; done", address)
	}
	return s.hold(ctx, contest{"an image fetched three times by curl, on " + s.title, []entry{
		{serve, fetch(ours.address)}, {files, fetch(theirs.address)},
	}, []goal{faster(serve, files, 0.9)}})
}

// A server is a program that is running.
type server struct {
	cmd     *exec.Cmd
	address string
}

// end ends the server as Ctrl-C does.
func (s server) end() error {
	s.cmd.Process.Signal(os.Interrupt) // it may have ended
	err := s.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGINT {
		return nil
	}
	return err
}

// startServe serves the image of p1 and waits until there is nothing else to do.
func (s *site) startServe(ctx context.Context) (server, error) {
	cmd := exec.CommandContext(ctx, s.program, "serve", "../controller.img", "--only", "p1", "--listen", "127.0.0.1:0")
	cmd.Dir = s.out
	said, err := cmd.StderrPipe()
	if err != nil {
		return server{}, err
	}
	if err := cmd.Start(); err != nil {
		return server{}, err
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if _, url, ready := strings.Cut(lines.Text(), "--repo "); ready {
			go io.Copy(io.Discard, said)
			return server{cmd, url[:strings.LastIndex(url, "/")]}, nil
		}
	}
	return server{}, fmt.Errorf("%v: it ended: %w", cmd, cmd.Wait())
}

// startNginx serves a file of the image of p1.
func (s *site) startNginx(ctx context.Context) (server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return server{}, err
	}
	address := free.Addr().String()
	free.Close()
	root := filepath.Join(s.dir, "nginx")
	config := filepath.Join(root, "nginx.conf")
	err = errors.Join(os.MkdirAll(root, 0o755), os.WriteFile(config, fmt.Appendf(nil, nginx, root, address), 0o644))
	if err != nil {
		return server{}, err
	}
	if err := s.keep(ctx, `"$CLUSTERCTRL" build ../controller.img -o . --only p1 -q; mv *-p1.img ../nginx/p1.img`); err != nil {
		return server{}, err
	}
	cmd := exec.CommandContext(ctx, "nginx", "-p", root, "-c", config, "-g", "user root;")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return server{}, err
	}
	started := server{cmd, "http://" + address}
	// curl asks again until nginx listens.
	wait := exec.CommandContext(ctx, "curl", "-fsS", "--retry", "50", "--retry-connrefused", "--retry-delay", "1", "-r", "0-0", "-o", os.DevNull, started.address+"/p1.img")
	if out, err := wait.CombinedOutput(); err != nil {
		return server{}, errors.Join(fmt.Errorf("%v: %w: %s", wait, err, out), started.end())
	}
	return started, nil
}
