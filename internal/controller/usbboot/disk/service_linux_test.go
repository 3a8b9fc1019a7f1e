package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"clusterctrl/internal/node"
)

func TestService(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	one := image(1)
	add(t, d, one, 5)
	r := start(t, d)
	if _, err := d.Listen(); err == nil || !strings.Contains(err.Error(), "another service") {
		t.Errorf("a second service: %v", err)
	}
	add(t, d, one, 6) // while the service runs

	// Each node has its own disk, which Linux's and other clients read and write.
	for _, id := range []node.ID{5, 6} {
		copied := filepath.Join(t.TempDir(), "copy")
		must[string](t)(client("nbdcopy", "--connections=4", r.uri(id, id.String()), copied))
		if got := must[[]byte](t)(os.ReadFile(copied)); !bytes.Equal(got, whole(one, id)) {
			t.Errorf("%v reads a disk that differs from byte %d on", id, firstDifference(got, whole(one, id)))
		}
	}
	if out := must[string](t)(client("nbdinfo", "--list", r.uri(5, ""))); !strings.Contains(out, `export="p5"`) || strings.Contains(out, "p6") {
		t.Errorf("p5 sees\n%s", out)
	}
	if out, err := client("nbdinfo", r.uri(5, "p6")); err == nil {
		t.Errorf("p5 has the disk of p6:\n%s", out)
	}
	if out, err := client("nbdinfo", r.uri(253, "p5")); err == nil {
		t.Errorf("an address of no node has a disk:\n%s", out)
	}
	must[string](t)(r.io(5, "write -P 0x77 1000k 2M", "write -z 2M 1M", "discard 6M 1M", "flush", "read -P 0x77 1000k 1048k"))
	must[string](t)(r.io(6, fmt.Sprintf("read %d %d", 0, 16<<20)))
	r.stop()
	if !bytes.Equal(export(t, d, 6), whole(one, 6)) {
		t.Error("p6's disk changed with p5's")
	}
	if want := "p5: it asked for the disk \"p6\", want its own"; !strings.Contains(strings.Join(r.log, "\n"), want) {
		t.Errorf("said %q, want %q", r.log, want)
	}
	got := export(t, d, 5)
	if !bytes.Equal(got[1000<<10:2<<20], bytes.Repeat([]byte{0x77}, 2<<20-1000<<10)) || !bytes.Equal(got[2<<20:3<<20], make([]byte, 1<<20)) {
		t.Error("what p5 wrote is not on its disk")
	}
}

// TestConnected: what is in use stays, unless it is forced; the state of each disk is told.
func TestConnected(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	add(t, d, image(1), 5, 6)
	states := func(want ...State) {
		t.Helper()
		for i, s := range must[[]Status](t)(d.List()) {
			if s.State != want[i] || s.Size != 16<<20 || s.Own < 8<<10 || len(s.Base) != 64 {
				t.Errorf("got %+v, want %s", s, want[i])
			}
		}
	}
	states(NotServed, NotServed)
	r := start(t, d)
	states(Idle, Idle)
	held := r.hold(5)
	states(Connected, Idle)
	for _, err := range []error{d.Reset(5), d.Remove(5)} {
		if !errors.Is(err, ErrConnected) || !strings.Contains(err.Error(), "--force") {
			t.Errorf("of a connected node: %v", err)
		}
	}
	if err := d.Reset(6); err != nil {
		t.Error(err)
	}
	force := Dir{Path: d.Path, Force: true}
	if err := force.Reset(5); err != nil {
		t.Fatal(err)
	}
	held.gone(t)
	states(Idle, Idle)
	touch(t, d, 5) // no connection holds the disk's lock any more
	held = r.hold(5)
	if err := force.Remove(5); err != nil {
		t.Fatal(err)
	}
	held.gone(t)
	if out, err := client("nbdinfo", r.uri(5, "p5")); err == nil {
		t.Errorf("a disk that was removed:\n%s", out)
	}
	r.stop()
	states(NotServed)
}

// TestConnectsAnew: a node's new connection ends the one before, and has the disk only
// when what was asked for on that one is done. The service's end ends it.
func TestConnectsAnew(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	add(t, d, image(1), 5, 6)
	r := start(t, d)
	before := r.hold(5)
	r.mu.Lock()
	disk := r.serving[5].Disk
	r.mu.Unlock()

	disk.flushing.Lock() // a request takes long
	const flush = "\x25\x60\x95\x13\x00\x00\x00\x03cookie01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	must[int](t)(io.WriteString(before, flush))
	anew := make(chan *held, 1)
	go func() { anew <- r.hold(5) }()
	before.gone(t)
	must[string](t)(r.io(6, "write 0 1M", "flush")) // other nodes do not wait
	if len(anew) > 0 {
		t.Error("the new connection has the disk before the flush of the last is done")
	}
	disk.flushing.Unlock()
	last := <-anew
	r.stop()
	last.gone(t)
}

// TestFull has the controller's disk run full under two nodes' writes. They get an error,
// keep what they had written, and go on once there is room.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "none", dir).CombinedOutput(); err != nil {
		t.Fatalf("want root, to mount a small file system: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := Dir{Path: filepath.Join(dir, "disk")}
	add(t, d, image(1), 5)
	r := start(t, d)
	do := r.session(5) // as long as it is connected, the service remembers
	do("write -P 1 8M 1M")
	do("flush")
	if out := do("write -P 2 9M 6M"); !strings.Contains(out, "No space left on device") {
		t.Fatalf("written to a full disk: %s", out)
	}
	if s := must[[]Status](t)(d.List())[0]; s.State != Connected || !strings.Contains(s.Error, "no space left on device: reset or remove disks") {
		t.Errorf("listed as %+v", s)
	}
	for _, command := range []string{"read -P 1 8M 1M", "write -P 3 8M 512k", "flush"} { // what is there can be written again
		if out := do(command); strings.Contains(out, "failed") {
			t.Errorf("%s: %s", command, out)
		}
	}
	if err := d.Add(t.Context(), adding(image(2)), 7); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("added to a full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	do("write -P 4 14M 512k")
	do("flush")
	if s := must[[]Status](t)(d.List())[0]; s.Error != "" || s.Written == 0 || s.WriteRate == 0 {
		t.Errorf("listed as %+v", s)
	}
	r.stop()
	got := export(t, d, 5)
	for _, want := range []struct{ at, value byte }{{8, 3}, {14, 4}} {
		if at := int(want.at) << 20; !bytes.Equal(got[at:at+512<<10], bytes.Repeat([]byte{want.value}, 512<<10)) {
			t.Errorf("what was written at %d MiB is not there", want.at)
		}
	}
}

// TestAllNodes has all nodes connected at once, and each write and read.
func TestAllNodes(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	var ids []node.ID
	for id := node.MinID; id <= node.MaxID; id++ {
		ids = append(ids, id)
	}
	add(t, d, image(1), ids...)
	s := &Service{Dir: d, Report: func(node.ID, string) {}}
	var all sync.WaitGroup
	for _, id := range ids {
		here, there := net.Pipe()
		all.Go(func() {
			if err := s.client(t.Context(), id, disguisedConn{there, id}); err != nil {
				t.Errorf("%v: %v", id, err)
			}
		})
		all.Go(func() {
			defer here.Close()
			if err := exercise(here, id); err != nil {
				t.Errorf("%v: %v", id, err)
			}
		})
	}
	all.Wait()
	for _, id := range []node.ID{1, 77, 252} {
		want := whole(image(1), id)
		copy(want[3<<20:], bytes.Repeat([]byte{byte(id)}, blockSize))
		if got := export(t, d, id); !bytes.Equal(got, want) {
			t.Errorf("%v differs from byte %d on", id, firstDifference(got, want))
		}
	}
}
