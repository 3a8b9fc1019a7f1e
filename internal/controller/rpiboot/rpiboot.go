// Package rpiboot gives boot files to Raspberry Pis that have no card. Such a Pi
// is a USB device that asks its host for files, in three connections for a start
// of Linux, between which it leaves the bus and comes back:
//
//  1. The program in its ROM takes bootcode.bin ([Conn.SendBootcode]).
//  2. Bootcode asks for start.elf and what goes with it ([Conn.ServeFiles]).
//  3. Start.elf asks for the kernel, its command line, initramfs and device tree.
//
// The ROM and Raspberry Pi's firmware define the protocol; the package knows nothing of
// clusters. The files come from an [fs.FS], so they may lie in a directory or within a
// disk image.
package rpiboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// ErrProtocol is wrapped by errors about a Pi that does not follow the protocol.
var ErrProtocol = errors.New("not the protocol of a Pi's boot ROM")

// A Transport moves data to and from one USB device, as usbfs does.
type Transport interface {
	// Control does a vendor's control transfer with request number 0. In
	// moves data from the device, else data goes to it.
	Control(in bool, value, index uint16, data []byte, timeout time.Duration) (int, error)
	// BulkOut sends data to an endpoint.
	BulkOut(endpoint uint8, data []byte, timeout time.Duration) (int, error)
}

const (
	// How long a transfer may take. A read waits until the Pi wants something: if it gave
	// up earlier and were tried again, it would take the end of one message for the start
	// of the next. A write takes long only on a busy host.
	transferTime = 20 * time.Second
	// How long a Pi has to be left alone after it came onto the bus, and after it got
	// bootcode.
	settleTime = time.Second
)

// pieceSize is the most that one bulk transfer carries, in bytes.
const pieceSize = 16 << 10

// A Conn is one connection of a Pi, from when it comes onto the bus until it leaves the bus.
type Conn struct {
	Transport Transport
	Endpoint  uint8 // of bulk transfers to the Pi
	// Log hears of each file that the Pi asked for. It may be nil.
	Log func(Request)
}

// A Request is a file that a Pi asked for.
type Request struct {
	Name string
	Size int64
	Read bool  // the Pi got the content; else it asked for the size alone
	Err  error // why the Pi was told that there is no such file
}

// bootMessage announces bootcode to the ROM.
type bootMessage struct {
	Length    uint32
	Signature [20]byte // zero: not signed
}

// SendBootcode gives the ROM the program that comes next.
func (c *Conn) SendBootcode(program []byte) error {
	time.Sleep(settleTime)
	message, err := binary.Append(nil, binary.LittleEndian, bootMessage{Length: uint32(len(program))})
	if err != nil {
		return err
	}
	if err := c.write(int64(len(message)), bytes.NewReader(message)); err != nil {
		return fmt.Errorf("announce bootcode: %w", err)
	}
	if err := c.write(int64(len(program)), bytes.NewReader(program)); err != nil {
		return fmt.Errorf("send bootcode: %w", err)
	}
	time.Sleep(settleTime)
	var status [4]byte
	if err := c.read(status[:]); err != nil {
		return fmt.Errorf("read what the ROM says of bootcode: %w", err)
	}
	if s := binary.LittleEndian.Uint32(status[:]); s != 0 {
		return fmt.Errorf("the ROM refused bootcode: status %#x, want 0", s)
	}
	return nil
}

// Commands of a Pi.
const (
	fileSize = 0
	readFile = 1
	done     = 2
)

// A message of a Pi. The name ends at its first zero.
type message struct {
	Command uint32
	Name    [256]byte
}

// ServeFiles answers a Pi until the Pi says that it has all it wants.
func (c *Conn) ServeFiles(files fs.FS) error {
	time.Sleep(settleTime)
	for {
		var buf [260]byte
		if err := c.read(buf[:]); err != nil {
			return fmt.Errorf("read what the Pi asks for: %w", err)
		}
		var m message
		if _, err := binary.Decode(buf[:], binary.LittleEndian, &m); err != nil {
			return err
		}
		name, _, _ := strings.Cut(string(m.Name[:]), "\x00")
		switch {
		case name == "" || m.Command == done:
			return nil
		case m.Command > done:
			return fmt.Errorf("%w: command %d about %q", ErrProtocol, m.Command, name)
		}
		if err := c.answer(files, m.Command, name); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}

// answer answers a question about one file. If there is no such file, the answer is a
// length of 0. It returns an error if the Pi cannot be answered.
func (c *Conn) answer(files fs.FS, command uint32, name string) error {
	file, size, err := open(files, name)
	if file != nil {
		defer file.Close()
	}
	c.log(Request{Name: name, Size: size, Read: command == readFile, Err: err})
	if command == fileSize {
		return c.announce(size)
	}
	return c.write(size, file)
}

// metadata starts the names by which firmware asks for properties, not files.
const metadata = "*"

// maxSize is what the 32 bits of an announcement can say.
const maxSize = 1<<32 - 1

// open opens a file for a Pi, and returns its size. A node may be able to write to the
// tree, so open refuses paths that lead out of it, and pipes.
func open(files fs.FS, name string) (fs.File, int64, error) {
	if strings.HasPrefix(name, metadata) {
		return nil, 0, fmt.Errorf("%s is a property: %w", name, fs.ErrNotExist)
	}
	if name = strings.TrimLeft(name, "/"); !fs.ValidPath(name) {
		return nil, 0, fmt.Errorf("%q is no name of a file: %w", name, fs.ErrInvalid)
	}
	info, err := fs.Stat(files, name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file but %v: %w", name, info.Mode().Type(), fs.ErrInvalid)
	}
	if err != nil {
		return nil, 0, err
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err = file.Stat()
	switch {
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no file: %w", name, fs.ErrInvalid)
	case err == nil && info.Size() > maxSize:
		err = fmt.Errorf("%s has %d bytes, want at most %d: %w", name, info.Size(), int64(maxSize), fs.ErrInvalid)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func (c *Conn) log(r Request) {
	if c.Log != nil {
		c.Log(r)
	}
}

// announce tells the Pi the length of what follows or, as an answer, that of a file.
func (c *Conn) announce(length int64) error {
	_, err := c.Transport.Control(false, uint16(length), uint16(length>>16), nil, transferTime)
	return err
}

// write sends length bytes from a reader, which may be nil if length is 0.
func (c *Conn) write(length int64, from io.Reader) error {
	if err := c.announce(length); err != nil {
		return err
	}
	buf := make([]byte, min(length, pieceSize))
	for length > 0 {
		piece := buf[:min(length, pieceSize)]
		if _, err := io.ReadFull(from, piece); err != nil {
			return err // the file has become shorter since its size was read
		}
		n, err := c.Transport.BulkOut(c.Endpoint, piece, transferTime)
		if err != nil {
			return err
		}
		if n != len(piece) {
			return fmt.Errorf("%w: it took %d of %d bytes", ErrProtocol, n, len(piece))
		}
		length -= int64(n)
	}
	return nil
}

// read fills buf with what the Pi says.
func (c *Conn) read(buf []byte) error {
	n, err := c.Transport.Control(true, uint16(len(buf)), uint16(len(buf)>>16), buf, transferTime)
	if err != nil {
		return err
	}
	if n != len(buf) {
		return fmt.Errorf("%w: it sent %d bytes, want %d", ErrProtocol, n, len(buf))
	}
	return nil
}
