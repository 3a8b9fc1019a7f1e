package serve

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

// build makes images of a controller, p1 and p252 in one directory. It returns the name of
// the controller's image.
func build(t *testing.T) string {
	t.Helper()
	o := provision.Options{
		Base: diskimage.Stdin, Input: bytes.NewReader(sample.Image), InputName: sample.Name,
		Dir: t.TempDir(), Settings: settings.Default(),
		Programs: func(rootfs.Arch) (map[string][]byte, error) {
			return map[string][]byte{node.ReconfigPath: []byte("a program")}, nil
		},
	}
	o.Settings.NAT = false
	o.Settings.SetNodes(0)
	result, err := provision.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	controller := filepath.Join(o.Dir, result.Files[0].Name)
	_, err = provision.More(t.Context(), provision.MoreOptions{Image: controller, Dir: o.Dir, Roles: []node.Role{node.ID(1).Role(), node.ID(252).Role()}})
	if err != nil {
		t.Fatal(err)
	}
	return controller
}

// everyone is all the roles of the largest cluster.
func everyone() []node.Role {
	roles := []node.Role{node.CBridge, node.CNAT}
	for id := node.MinID; id <= node.MaxID; id++ {
		roles = append(roles, id.Role())
	}
	return roles
}

func silent(string, int64) io.WriteCloser { return discard{io.Discard} }

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// A served is a site at an address.
type served struct {
	*Site
	controller string // file name
	address    string
}

// open serves the images of roles over TCP until the test ends.
func open(t *testing.T, controller string, roles []node.Role, format packed.Format) served {
	t.Helper()
	c, err := provision.OpenController(controller)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := New(c, roles, format)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return served{s, controller, "http://" + l.Addr().String()}
}

// get asks for a name, with headers that are given as pairs.
func (s served) get(t rapid.TB, name string, headers ...string) (*http.Response, []byte) {
	return s.do(t, http.MethodGet, name, headers...)
}

func (s served) do(t rapid.TB, method, name string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, s.address+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sibling is the file of another role beside the controller's.
func (s served) sibling(role string) string {
	return strings.Replace(s.controller, "CBRIDGE", role, 1)
}
