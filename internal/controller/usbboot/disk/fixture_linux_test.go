package disk

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"clusterctrl/internal/node"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const imageSize = 4 << 20

// image returns an image with a content of its own.
func image(seed uint64) []byte {
	data := make([]byte, imageSize)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		if i/blockSize%3 != 0 { // else zeros
			data[i] = byte(r.Uint32())
		}
	}
	return data
}

// sectorAt is where an image differs by node.
const sectorAt = 5 * sector

func sectorOf(id node.ID) (s Sector) {
	s.Offset = sectorAt
	copy(s.Data[:], "of "+id.String())
	return s
}

// adding makes disks of an image.
func adding(content []byte) Addition {
	return Addition{
		Unpack: func(to *os.File) error {
			_, err := to.Write(content)
			return err
		},
		Sectors: func(_ string, ids []node.ID) (all []Sector, err error) {
			for _, id := range ids {
				all = append(all, sectorOf(id))
			}
			return all, nil
		},
		Size: 16 << 20,
	}
}

func add(t testing.TB, d Dir, content []byte, ids ...node.ID) {
	t.Helper()
	if err := d.Add(context.Background(), adding(content), ids...); err != nil {
		t.Fatal(err)
	}
}

// whole is what a node's new disk reads as.
func whole(content []byte, id node.ID) []byte {
	all := make([]byte, 16<<20)
	copy(all, content)
	s := sectorOf(id)
	copy(all[s.Offset:], s.Data[:])
	return all
}

// export returns what Export writes.
func export(t testing.TB, d Dir, id node.ID) []byte {
	t.Helper()
	f := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "image")))
	defer f.Close()
	if err := d.Export(context.Background(), id, f, nil); err != nil {
		t.Fatal(err)
	}
	return must[[]byte](t)(os.ReadFile(f.Name()))
}

// A running service, whose clients have the addresses that they say.
type running struct {
	*Service
	t    testing.TB
	stop func()

	mu  sync.Mutex
	log []string
}

// start starts a service in d.
func start(t testing.TB, d Dir) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t}
	r.Service = &Service{Dir: d, Report: func(id node.ID, what string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, fmt.Sprintf("%v: %s", id, what))
	}}
	programs := must[net.Listener](t)(d.Listen())
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.Answer(ctx, programs); err != nil {
			t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(r.stop)
	r.serveFrom(ctx, &all)
	return r
}

// serveFrom adds listeners for p5 and p6, at which each client is that node.
func (r *running) serveFrom(ctx context.Context, all *sync.WaitGroup) {
	for _, id := range []node.ID{5, 6, 253} {
		name := filepath.Join(r.Dir.Path, fmt.Sprintf(".nbd%d", id))
		l := must[net.Listener](r.t)(net.Listen("unix", name))
		all.Go(func() {
			if err := r.Serve(ctx, disguised{l, id}); err != nil {
				r.t.Error(err)
			}
		})
	}
}

// A disguised listener's clients are all at a node's address.
type disguised struct {
	net.Listener
	id node.ID
}

func (d disguised) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	return disguisedConn{conn, d.id}, err
}

type disguisedConn struct {
	net.Conn
	id node.ID
}

func (d disguisedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: d.id.NFSAddr().AsSlice(), Port: 40000}
}

// uri is where a disk is, for a client that is a node.
func (r *running) uri(as node.ID, name string) string {
	return fmt.Sprintf("nbd+unix:///%s?socket=%s/.nbd%d", name, r.Dir.Path, as)
}

// client runs another project's client, and returns what it says.
func client(words ...string) (string, error) {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), err
}

// io runs commands of qemu-io on a disk.
func (r *running) io(id node.ID, commands ...string) (string, error) {
	words := []string{"qemu-io", "-f", "raw"}
	for _, c := range commands {
		words = append(words, "-c", c)
	}
	return client(append(words, r.uri(id, id.String()))...)
}

// session starts a qemu-io whose one connection does command after command, and returns
// what each says.
func (r *running) session(id node.ID) (do func(command string) string) {
	r.t.Helper()
	cmd := exec.Command("qemu-io", "-f", "raw", r.uri(id, id.String()))
	in := must[io.WriteCloser](r.t)(cmd.StdinPipe())
	out := must[io.ReadCloser](r.t)(cmd.StdoutPipe())
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	said := bufio.NewReader(out)
	answer := func() string {
		const prompt = "qemu-io> "
		var text []byte
		for !bytes.HasSuffix(text, []byte(prompt)) {
			text = append(text, must[byte](r.t)(said.ReadByte()))
		}
		return string(bytes.TrimSuffix(text, []byte(prompt)))
	}
	answer()
	return func(command string) string {
		must[int](r.t)(io.WriteString(in, command+"\n"))
		return answer()
	}
}

// A held connection is one that has a disk and does nothing.
type held struct {
	net.Conn
	in io.Reader
}

// hold connects as a node, by the oldest way to choose a disk.
func (r *running) hold(id node.ID) *held {
	r.t.Helper()
	conn := must[net.Conn](r.t)(net.Dial("unix", filepath.Join(r.Dir.Path, fmt.Sprintf(".nbd%d", id))))
	r.t.Cleanup(func() { conn.Close() })
	name := id.String()
	hello := []byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00" + string(rune(len(name))) + name)
	if _, err := conn.Write(hello); err != nil {
		r.t.Fatal(err)
	}
	answer := make([]byte, 18+10)
	if _, err := io.ReadFull(conn, answer); err != nil {
		r.t.Fatal(err)
	}
	return &held{conn, conn}
}

// gone waits for the service to hang up.
func (h *held) gone(t testing.TB) {
	t.Helper()
	if n, err := io.Copy(io.Discard, h.in); n > 0 || err != nil && !bytes.Contains([]byte(err.Error()), []byte("reset")) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// exercise writes a block of a node's own and reads it back, by the protocol's bytes.
func exercise(conn net.Conn, id node.ID) error {
	name := id.String()
	const request = "\x25\x60\x95\x13\x00\x00"
	block := bytes.Repeat([]byte{byte(id)}, blockSize)
	const where = "\x00\x00\x00\x00\x00\x30\x00\x00\x00\x00\x10\x00" // 4096 bytes at 3 MiB
	for _, step := range []struct {
		send string
		want int // bytes of the answer
	}{
		{"", 18},
		{"\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00" + string(rune(len(name))) + name, 10},
		{request + "\x00\x01cookie01" + where + string(block), 16},
		{request + "\x00\x03cookie02" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 16},
		{request + "\x00\x00cookie03" + where, 16 + blockSize},
	} {
		if step.send != "" { // a pipe would wait for a reader of nothing
			if _, err := io.WriteString(conn, step.send); err != nil {
				return err
			}
		}
		answer := make([]byte, step.want)
		if _, err := io.ReadFull(conn, answer); err != nil {
			return err
		}
		if step.want >= 16 && step.want != 18 && !bytes.Equal(answer[4:8], []byte{0, 0, 0, 0}) {
			return fmt.Errorf("answer %x", answer[:16])
		}
		if step.want > blockSize && !bytes.Equal(answer[16:], block) {
			return fmt.Errorf("read %x..., want %x", answer[16:20], byte(id))
		}
	}
	_, err := io.WriteString(conn, request+"\x00\x02cookie04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	return err
}
