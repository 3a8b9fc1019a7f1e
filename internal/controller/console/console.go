// Package console lets a user talk to the serial console of a node: it passes
// bytes between a terminal and a port until the user ends the connection or the port
// goes away.
//
// A port has one user at a time: of two readers, each would get some of the bytes.
package console

import (
	"context"
	"errors"
	"io"
	"strings"
)

// ErrGone says that the port went away: the node was unplugged, switched off or
// is restarting.
var ErrGone = errors.New("the node is gone: unplugged, switched off or restarting")

// ErrTaken is wrapped by the error about a port that another program uses.
var ErrTaken = errors.New("in use")

// Help is what ~? shows.
const Help = `
~.  end the connection
~~  send a ~
~?  this help
They count at the start of a line only.
`

// Run passes bytes on until the user types ~. or the context ends. The end of in does
// not end Run, so that a log can be followed. Messages are written for a raw terminal.
// A goroutine goes on reading in after Run has returned, since a read that waits cannot
// be interrupted.
func Run(ctx context.Context, port io.ReadWriter, in io.Reader, out io.Writer) error {
	ended := make(chan error, 3)
	keys := make(chan []byte, backlog)
	go func() {
		_, err := io.Copy(out, port)
		ended <- gone(err)
	}()
	go func() { ended <- send(port, keys) }()
	go func() {
		if over := listen(in, keys, out); over {
			ended <- nil
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backlog is how many reads of the keyboard are kept for a node that takes no bytes.
// Later ones are dropped, since the keyboard must be read: the user may want to leave.
const backlog = 256

// gone is the error of a port whose reads or writes failed. From a port that was hung up,
// a read returns nothing and no error.
func gone(err error) error {
	if err == nil {
		return ErrGone
	}
	return errors.Join(ErrGone, err)
}

func send(port io.Writer, keys <-chan []byte) error {
	for b := range keys {
		if _, err := port.Write(b); err != nil {
			return gone(err)
		}
	}
	select {} // the end of the input is not the end of the connection
}

// listen reads the keyboard until its end, or until the user ends the connection.
func listen(in io.Reader, keys chan<- []byte, out io.Writer) (over bool) {
	defer close(keys)
	e := escape{lineStart: true}
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		var passed []byte
		for _, b := range buf[:n] {
			send, what := e.next(b)
			passed = append(passed, send...)
			switch what {
			case end:
				return true
			case help:
				io.WriteString(out, strings.ReplaceAll(Help, "\n", "\r\n"))
			}
		}
		if err != nil && e.pending {
			passed = append(passed, tilde)
		}
		if len(passed) > 0 {
			select {
			case keys <- passed:
			default:
				io.WriteString(out, "\a")
			}
		}
		if err != nil {
			return false
		}
	}
}
