package rpiboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A cable leads to a Pi that says what it is told to. It keeps what the Pi is sent:
// an item for each announced length, with the bytes that follow behind it.
type cable struct {
	says [][]byte
	got  []string

	sizeAsked bool // by the last message; no bytes follow its answer
	missing   int  // bytes that were announced and have not come
	transfers int
	pulled    int // number of the transfer at which the cable is pulled, 0 for none
}

var errPulled = errors.New("pulled")

func (c *cable) transfer() error {
	c.transfers++
	if c.transfers == c.pulled {
		return errPulled
	}
	return nil
}

func (c *cable) Control(in bool, value, index uint16, data []byte, timeout time.Duration) (int, error) {
	if err := c.transfer(); err != nil {
		return 0, err
	}
	if c.missing != 0 {
		return 0, fmt.Errorf("%d bytes of the last write are missing", c.missing)
	}
	length := int(value) | int(index)<<16
	if !in {
		c.got = append(c.got, fmt.Sprintf("%d:", length))
		if !c.sizeAsked {
			c.missing = length
		}
		return 0, nil
	}
	if timeout < 20*time.Second {
		return 0, fmt.Errorf("a read gives up after %v", timeout)
	}
	if length != len(data) || len(c.says) == 0 {
		return 0, fmt.Errorf("read of %d bytes into %d, with %d messages left", length, len(data), len(c.says))
	}
	said := c.says[0]
	c.says = c.says[1:]
	c.sizeAsked = len(said) > 4 && binary.LittleEndian.Uint32(said) == 0
	return copy(data, said), nil
}

func (c *cable) BulkOut(endpoint uint8, data []byte, _ time.Duration) (int, error) {
	if err := c.transfer(); err != nil {
		return 0, err
	}
	if endpoint != 1 || len(data) > 16<<10 || len(data) > c.missing {
		return 0, fmt.Errorf("%d bytes to endpoint %d, want at most %d", len(data), endpoint, c.missing)
	}
	c.got[len(c.got)-1] += string(data)
	c.missing -= len(data)
	return len(data), nil
}

// ask is a message of 260 bytes: a command of 32 bits and a name.
func ask(command byte, name string) []byte {
	m := make([]byte, 260)
	m[0] = command
	copy(m[4:], name)
	return m
}

// run runs what talks over a cable, in time that is not real.
func run(t *testing.T, talk func() error) (err error) {
	synctest.Test(t, func(*testing.T) { err = talk() })
	return err
}

func TestSendBootcode(t *testing.T) {
	program := strings.Repeat("0123456789abcdef", 3<<10) // three pieces
	for status, want := range map[byte]string{0: "", 7: "status 0x7, want 0"} {
		c := &cable{says: [][]byte{{status, 0, 0, 0}}}
		err := run(t, func() error { return (&Conn{Transport: c, Endpoint: 1}).SendBootcode([]byte(program)) })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("status %d: %v, want %q", status, err, want)
		}
		message := "\x00\xc0\x00\x00" + strings.Repeat("\x00", 20) // 49152, no signature
		if diff := cmp.Diff([]string{"24:" + message, "49152:" + program}, c.got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

var bootFiles = fstest.MapFS{
	"config.txt":             {Data: []byte("enable_uart=1\n")},
	"empty":                  {},
	"kernel.img":             {Data: bytes.Repeat([]byte("k"), 16<<10+1)},
	"overlays/dwc2.dtbo":     {Data: []byte("dwc2")},
	"directory/file":         {},
	"pipe":                   {Mode: fs.ModeNamedPipe},
	"overlays/node-link.dtb": {Mode: fs.ModeSymlink, Data: []byte("../../etc/shadow")},
}

func TestServeFiles(t *testing.T) {
	const size, read, done = 0, 1, 2
	kernel := string(bootFiles["kernel.img"].Data)
	for _, tt := range []struct {
		name string
		says [][]byte
		want []string
		err  string
	}{
		{"size", [][]byte{ask(size, "config.txt"), ask(done, "x")}, []string{"14:"}, ""},
		{"read", [][]byte{ask(read, "config.txt"), ask(done, "x")}, []string{"14:enable_uart=1\n"}, ""},
		{"both", [][]byte{ask(size, "kernel.img"), ask(read, "kernel.img"), ask(done, "x")}, []string{"16385:", "16385:" + kernel}, ""},
		{"in a directory", [][]byte{ask(read, "overlays/dwc2.dtbo"), ask(done, "x")}, []string{"4:dwc2"}, ""},
		{"from the root", [][]byte{ask(read, "/config.txt"), ask(done, "x")}, []string{"14:enable_uart=1\n"}, ""},
		{"empty name is done", [][]byte{ask(read, "")}, nil, ""},
		{"empty file", [][]byte{ask(read, "empty"), ask(done, "x")}, []string{"0:"}, ""},
		{"not there", [][]byte{ask(size, "fixup.dat"), ask(read, "fixup.dat"), ask(done, "x")}, []string{"0:", "0:"}, ""},
		{"property", [][]byte{ask(read, "*serial"), ask(done, "x")}, []string{"0:"}, ""},
		{"out of the tree", [][]byte{ask(read, "../shadow"), ask(read, "overlays/../../shadow"), ask(done, "x")}, []string{"0:", "0:"}, ""},
		{"directory", [][]byte{ask(read, "directory"), ask(done, "x")}, []string{"0:"}, ""},
		{"pipe", [][]byte{ask(read, "pipe"), ask(done, "x")}, []string{"0:"}, ""},
		{"name without end", [][]byte{ask(read, strings.Repeat("n", 256)), ask(done, "x")}, []string{"0:"}, ""},
		{"unknown command", [][]byte{ask(3, "config.txt")}, nil, `command 3 about "config.txt"`},
		{"short message", [][]byte{ask(read, "config.txt")[:259]}, nil, "259 bytes, want 260"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &cable{says: tt.says}
			err := run(t, func() error { return (&Conn{Transport: c, Endpoint: 1}).ServeFiles(bootFiles) })
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, c.got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestPulled pulls the cable at every transfer of a connection.
func TestPulled(t *testing.T) {
	says := func() [][]byte {
		return [][]byte{ask(0, "kernel.img"), ask(1, "kernel.img"), ask(1, "nothing"), ask(2, "x")}
	}
	whole := &cable{says: says()}
	if err := run(t, func() error { return (&Conn{Transport: whole, Endpoint: 1}).ServeFiles(bootFiles) }); err != nil {
		t.Fatal(err)
	}
	if whole.transfers < 8 {
		t.Fatalf("%d transfers: want all of four answers", whole.transfers)
	}
	for at := 1; at <= whole.transfers; at++ {
		c := &cable{says: says(), pulled: at}
		err := run(t, func() error { return (&Conn{Transport: c, Endpoint: 1}).ServeFiles(bootFiles) })
		if !errors.Is(err, errPulled) || c.transfers != at {
			t.Errorf("pulled at %d: %v after %d transfers", at, err, c.transfers)
		}
	}
}

// A shrinking file has fewer bytes than it says.
type shrinking struct{ fstest.MapFS }

func (s shrinking) Open(name string) (fs.File, error) {
	f, err := s.MapFS.Open(name)
	if err == nil {
		_, err = f.Read(make([]byte, 1))
	}
	return f, err
}

func TestFileThatShrinks(t *testing.T) {
	c := &cable{says: [][]byte{ask(1, "config.txt"), ask(2, "x")}}
	err := run(t, func() error { return (&Conn{Transport: c, Endpoint: 1}).ServeFiles(shrinking{bootFiles}) })
	if err == nil || !strings.HasPrefix(err.Error(), `"config.txt": `) {
		t.Errorf("%v, want an error about config.txt", err)
	}
}

func FuzzServeFiles(f *testing.F) {
	f.Add(bytes.Join([][]byte{ask(0, "kernel.img"), ask(1, "kernel.img"), ask(2, "")}, nil))
	f.Add(ask(1, "../../etc/shadow"))
	f.Add([]byte{1, 0, 0, 0, 'x'})
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &cable{}
		for len(said) > 0 {
			n := min(260, len(said))
			c.says = append(c.says, said[:n])
			said = said[n:]
		}
		_ = run(t, func() error { return (&Conn{Transport: c, Endpoint: 1}).ServeFiles(bootFiles) })
		for _, got := range c.got {
			if len(got) > len("16385:")+16<<10+1 {
				t.Errorf("the Pi was sent %d bytes at once", len(got))
			}
		}
	})
}
