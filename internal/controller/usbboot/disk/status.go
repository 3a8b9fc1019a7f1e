package disk

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"clusterctrl/internal/node"
)

// A State is whether a disk is in use.
type State string

// The states of a disk.
const (
	Connected State = "connected" // its node uses it
	Idle      State = "idle"      // its node may connect
	NotServed State = "off"       // the service does not run
	Unusable  State = "unusable"  // no node can use it: see the status's Error
)

// A Status is what is known of a disk.
type Status struct {
	Node  node.ID `json:"node"`
	State State   `json:"state"`
	Size  int64   `json:"size"` // in bytes, as the node sees it
	Own   int64   `json:"own"`  // bytes that the node's changes take on the controller
	Base  string  `json:"base"` // SHA-256 of the base
	Traffic
	Error string `json:"error,omitempty"` // why the disk is unusable, or the last write failed
}

// Traffic is what a node reads and writes while it is connected.
type Traffic struct {
	Read      int64 `json:"read"`       // bytes since the node connected
	Written   int64 `json:"written"`    // the same
	ReadRate  int64 `json:"read_rate"`  // bytes a second, over the last ten seconds or so
	WriteRate int64 `json:"write_rate"` // the same
}

// A report is what the service tells of a disk that it serves.
type report struct {
	Traffic
	Error string `json:"error"`
}

// List describes all disks.
func (d Dir) List() ([]Status, error) {
	ids, err := d.IDs()
	if err != nil {
		return nil, err
	}
	reports, running, err := d.ask("")
	if err != nil {
		return nil, err
	}
	all := []Status{}
	for _, id := range ids {
		st := Status{Node: id, State: NotServed}
		if running {
			st.State = Idle
		}
		if r, ok := reports[id]; ok {
			st.State, st.Traffic, st.Error = Connected, r.Traffic, r.Error
		}
		if err := d.describe(&st); errors.Is(err, fs.ErrPermission) {
			return nil, err
		} else if err != nil {
			st.State, st.Error = Unusable, err.Error()
		}
		all = append(all, st)
	}
	return all, nil
}

// describe adds what the disk's files tell.
func (d Dir) describe(st *Status) error {
	info, err := os.Stat(d.file(st.Node))
	if err != nil {
		return err
	}
	st.Own = space(info)
	h, err := d.header(st.Node)
	if err != nil {
		return err
	}
	st.Size, st.Base = h.Size, hex.EncodeToString(h.Base.Sum[:])
	base, err := d.openBase(h.Base)
	if err != nil {
		return err
	}
	return base.Close()
}

// socket is where the service listens to programs on the controller. A program sends one
// line, which is empty or names a node whose connections are to end. The answer is an object
// in JSON with a report about each connected node.
const socket = ".service"

// Listen opens the socket at which [Service.Answer] listens, unless another service does.
func (d Dir) Listen() (net.Listener, error) {
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return nil, err
	}
	if _, running, _ := d.ask(""); running {
		return nil, fmt.Errorf("%s: another service gives nodes these disks", d.Path)
	}
	name := filepath.Join(d.Path, socket)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", name)
}

// ask sends the service a line. It returns running as false where there is no service.
func (d Dir) ask(line string) (reports map[node.ID]report, running bool, err error) {
	conn, err := net.Dial("unix", filepath.Join(d.Path, socket))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return nil, false, err
	}
	if err := json.NewDecoder(conn).Decode(&reports); err != nil {
		return nil, false, fmt.Errorf("the service of disks: %w", err)
	}
	return reports, true, nil
}

// disconnect has the service end a node's connections.
func (d Dir) disconnect(id node.ID) error {
	_, _, err := d.ask(id.String())
	return err
}

// Answer answers programs on the controller until ctx ends. It closes the listener.
func (s *Service) Answer(ctx context.Context, programs net.Listener) error {
	return accept(ctx, programs, func(conn net.Conn) {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return
		}
		if id, err := node.ParseID(strings.TrimSpace(line)); err == nil {
			s.disconnect(ctx, id)
		}
		_ = json.NewEncoder(conn).Encode(s.reports()) // a program that has gone wants none
	})
}

func (s *Service) reports() map[node.ID]report {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, all := time.Now(), map[node.ID]report{}
	for id, d := range s.serving {
		if d.opened == nil {
			continue
		}
		r := report{Traffic: Traffic{ReadRate: int64(d.reading.read(now)), WriteRate: int64(d.writing.read(now))}}
		r.Read, r.Written = d.Traffic()
		if text := d.trouble.Load(); text != nil {
			r.Error = *text
		}
		all[id] = r
	}
	return all
}
