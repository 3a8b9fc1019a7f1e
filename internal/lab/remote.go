package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Request is what another program asks of a running [Rig]: a line of JSON on
// its socket. The answer is a line with a [Reply]; behind the Reply to a request for a
// console, the console's bytes follow, both ways.
type Request struct {
	Do      string `json:"do"` // one of the words below
	Machine string `json:"machine,omitempty"`
}

// What can be asked. All but AskStatus and AskDown are about a machine.
const (
	AskStatus  = "status"
	AskDown    = "down" // ends the rig; the connection ends with its process
	AskOn      = "on"
	AskCut     = "cut"
	AskPlug    = "plug"
	AskUnplug  = "unplug"
	AskConsole = "console"
)

// A Reply is the answer to a [Request].
type Reply struct {
	Error    string         `json:"error,omitempty"`
	Machines []MachineState `json:"machines,omitempty"`
}

// A MachineState is the state of a machine.
type MachineState struct {
	Name  string `json:"name"`
	On    bool   `json:"on"`
	Cable string `json:"cable,omitempty"` // of a node: in or out
}

// Serve answers requests until ctx ends or a request asks for the end.
func (r *Rig) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			stay := context.AfterFunc(ctx, func() { conn.Close() })
			if r.answer(ctx, conn) == AskDown && stay() {
				r.holdToTheEnd(conn)
				cancel()
				return
			}
			conn.Close()
		})
	}
}

// holdToTheEnd leaves a connection open for as long as there is this process.
func (r *Rig) holdToTheEnd(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, conn)
}

// answer answers one request and returns what it was for.
func (r *Rig) answer(ctx context.Context, conn net.Conn) string {
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return ""
	}
	var q Request
	if err := json.Unmarshal(line, &q); err != nil {
		reply(conn, Reply{Error: err.Error()})
		return ""
	}
	if q.Do == AskConsole {
		r.console(ctx, conn, in, q.Machine)
		return q.Do
	}
	states, err := r.do(q)
	answer := Reply{Machines: states}
	if err != nil {
		answer.Error = err.Error()
	}
	reply(conn, answer)
	return q.Do
}

func reply(conn net.Conn, r Reply) error { return json.NewEncoder(conn).Encode(r) }

func (r *Rig) do(q Request) ([]MachineState, error) {
	switch q.Do {
	case AskStatus:
		return r.states(), nil
	case AskDown:
		return nil, nil
	}
	m, err := r.Member(q.Machine)
	if err != nil {
		return nil, err
	}
	switch q.Do {
	case AskOn:
		m.PowerOn()
	case AskCut:
		m.Cut()
	case AskPlug, AskUnplug:
		if m.Cable == nil {
			return nil, fmt.Errorf("%s has no cable of its own: name a node", m.Name)
		}
		m.Cable.Plug(q.Do == AskPlug)
	default:
		return nil, fmt.Errorf("request %q: want %s, %s, %s, %s, %s, %s or %s", q.Do, AskStatus, AskDown, AskOn, AskCut, AskPlug, AskUnplug, AskConsole)
	}
	return nil, nil
}

func (r *Rig) states() []MachineState {
	var states []MachineState
	for _, m := range r.members {
		s := MachineState{Name: m.Name, On: m.IsOn()}
		if m.Cable != nil {
			s.Cable = "out"
			if m.Cable.IsIn() {
				s.Cable = "in"
			}
		}
		states = append(states, s)
	}
	return states
}

// console passes on what a console shows and what is typed, until either is over.
func (r *Rig) console(ctx context.Context, conn net.Conn, in io.Reader, name string) {
	m, err := r.Member(name)
	if err != nil {
		reply(conn, Reply{Error: err.Error()})
		return
	}
	if reply(conn, Reply{}) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(m, in)
		cancel() // the viewer has gone
	}()
	m.Show(ctx, conn)
}

// maxSocketPath is how long the path of a socket can be on all systems; macOS
// has the shortest.
const maxSocketPath = 103

// Listen listens at a socket that is a file.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%s: %d bytes are too long for the path of a socket, want %d: set TMPDIR and XDG_CACHE_HOME to shorter ones", path, len(path), maxSocketPath)
	}
	return net.Listen("unix", path)
}

// Ask asks the rig whose socket has the given path. If the request is for a
// console, Ask returns the connection to it, which must be closed. It also returns the
// connection of a request for the end, which ends when the rig is gone.
func Ask(socket string, q Request) (_ Reply, with io.ReadWriteCloser, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return Reply{}, nil, errors.New("no virtual cluster is up: see \"clusterctrl lab up\"")
	}
	defer func() {
		if with == nil {
			conn.Close()
		}
	}()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return Reply{}, nil, err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return Reply{}, nil, fmt.Errorf("the virtual cluster went down: %w", err)
	}
	var answer Reply
	if err := json.Unmarshal(line, &answer); err != nil {
		return Reply{}, nil, err
	}
	if answer.Error != "" {
		return Reply{}, nil, errors.New(answer.Error)
	}
	if q.Do != AskConsole && q.Do != AskDown {
		return answer, nil, nil
	}
	return answer, buffered{conn, in}, nil
}

// buffered is a connection of which some was read ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }
