package lab

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/lab/cable"
	"github.com/google/go-cmp/cmp"
)

// serve serves a rig of a controller and two nodes, all off, until somebody asks
// for the end. ended is closed then.
func serve(t *testing.T, ctx context.Context) (socket string, ended <-chan struct{}) {
	t.Helper()
	r := &Rig{members: []*Member{
		{MemberConfig: MemberConfig{Name: "cnat", Controller: true}},
		{MemberConfig: MemberConfig{Name: "p1"}, Cable: new(cable.Cable)},
		{MemberConfig: MemberConfig{Name: "p2"}, Cable: new(cable.Cable)},
	}}
	r.members[2].Cable.Plug(true)
	io.WriteString(&r.members[1].screen, "p1 login: ")
	socket = filepath.Join(t.TempDir(), "socket")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	return socket, done
}

func ask(t *testing.T, socket string, do, machine string) (Reply, string) {
	t.Helper()
	answer, _, err := Ask(socket, Request{Do: do, Machine: machine})
	if err != nil {
		return answer, err.Error()
	}
	return answer, ""
}

func TestAsk(t *testing.T) {
	socket, ended := serve(t, t.Context())
	for _, tt := range []struct{ do, machine, err string }{
		{AskPlug, "p1", ""},
		{AskPlug, "p1", ""}, // it is in already
		{AskUnplug, "p2", ""},
		{AskCut, "p1", ""}, // it is off already
		{AskPlug, "cnat", "cnat has no cable of its own: name a node"},
		{AskOn, "p3", `machine "p3": want cnat or p1 or p2`},
		{AskConsole, "", `machine "": want cnat or p1 or p2`},
		{"frob", "p1", `request "frob": want status, down, on, cut, plug, unplug or console`},
	} {
		if _, err := ask(t, socket, tt.do, tt.machine); err != tt.err {
			t.Errorf("%s %s: %q, want %q", tt.do, tt.machine, err, tt.err)
		}
	}
	status, _ := ask(t, socket, AskStatus, "")
	want := []MachineState{{Name: "cnat"}, {Name: "p1", Cable: "in"}, {Name: "p2", Cable: "out"}}
	if diff := cmp.Diff(want, status.Machines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := ask(t, socket, AskDown, ""); err != "" {
		t.Error(err)
	}
	<-ended
	if _, err := ask(t, socket, AskStatus, ""); err != `no virtual cluster is up: see "clusterctrl lab up"` {
		t.Error(err)
	}
}

// TestAskConsole looks at the console of a machine that is off: it shows what it
// showed last, until the cluster ends.
func TestAskConsole(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	socket, ended := serve(t, ctx)
	_, console, err := Ask(socket, Request{Do: AskConsole, Machine: "p1"})
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	shown := make([]byte, len("p1 login: "))
	if _, err := io.ReadFull(console, shown); err != nil || string(shown) != "p1 login: " {
		t.Errorf("%q, %v", shown, err)
	}
	if _, err := console.Write([]byte("root\n")); err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
	if more, err := io.ReadAll(console); len(more) > 0 {
		t.Errorf("%q, %v", more, err)
	}
}

// TestWhoAsksWrongly sends requests that our program never sends.
func TestWhoAsksWrongly(t *testing.T) {
	socket, ended := serve(t, t.Context())
	for text, want := range map[string]string{
		"hello\n":            `{"error":"invalid character`,
		"{}\n":               `{"error":"machine \"\": want cnat or p1 or p2"}`,
		"{\"do\":1}\n":       `{"error":"json: cannot unmarshal`,
		"{\"do\":\"status\"": "", // and is gone
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, text)
		conn.(*net.UnixConn).CloseWrite()
		if answer, _ := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(answer, want) || want == "" && answer != "" {
			t.Errorf("%q: %q, want %q", text, answer, want)
		}
		conn.Close()
	}
	ask(t, socket, AskDown, "")
	<-ended
}
