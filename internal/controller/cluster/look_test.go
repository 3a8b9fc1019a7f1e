package cluster

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A tree is the files of a machine by name. A text that begins with -> is the target of a
// symbolic link.
type tree map[string]string

func (f tree) write(t *testing.T) fs.FS {
	t.Helper()
	dir := t.TempDir()
	for name, text := range f {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return os.DirFS(dir)
}

// plug adds a node as Linux shows one: its device in a directory of its bus, and
// links to that.
func (f tree) plug(path, devnum, serial, product, link, tty string) {
	dir := "sys/devices/platform/usb/usb1/" + path + "/"
	f["sys/bus/usb/devices/"+path] = "->../../../devices/platform/usb/usb1/" + path
	f["sys/bus/usb/devices/"+path+":1.0"] = "->../../../devices/platform/usb/usb1/" + path + "/" + path + ":1.0"
	attributes := tree{"idVendor": "3171", "idProduct": "0020", "serial": serial, "product": product,
		"devnum": devnum, "dev": "189:" + devnum, "power/connected_duration": "60000"}
	for name, text := range attributes {
		f[dir+name] = text
	}
	if link != "" {
		net := dir + path + ":1.0/net/" + link + "/"
		f[net+"address"], f[net+"flags"], f[net+"carrier"] = "00:22:82:ff:fe:07", "0x1003", "1"
	}
	if tty != "" {
		f[dir+path+":1.2/tty/"+tty+"/dev"] = "166:0"
	}
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func look(t *testing.T, f tree, neighbours ...Neighbour) []Node {
	t.Helper()
	nodes, err := Machine{f.write(t), neighbours, now, time.Hour}.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

var addrsEqual = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestNodes(t *testing.T) {
	f := tree{
		"dev/ttypi7": "->ttyACM0",
		"dev/ttypi9": "->ttyACM1",
		"sys/devices/platform/usb/usb1/1-1.2/1-1.2:1.0/net/ethpi7/master": "->../../../../../../virtual/net/br0",
		"run/udev/data/c189:5": "I:600000000\nE:ID_BUS=usb",
		// Not nodes: a hub, a board, and gadgets with others' numbers.
		"sys/bus/usb/devices/usb1/idVendor":  "1d6b",
		"sys/bus/usb/devices/1-2/idVendor":   "3171",
		"sys/bus/usb/devices/1-2/idProduct":  "0010",
		"sys/bus/usb/devices/1-1:1.0/driver": "",
	}
	f.plug("1-1.2", "5", "7", "ClusterCTRL", "ethpi7", "ttyACM0")
	f.plug("1-1.3", "6", "9", "ClusterCTRL-usbboot", "ethupi9", "ttyACM1")
	f.plug("1-1.4", "7", "254", "ClusterCTRL", "usb0", "ttyACM2")
	f.plug("1-1.5", "9", "253", "ClusterCTRL", "ethpi253", "")
	f.plug("1-1.1", "8", "1", "ClusterCTRL", "", "")
	f["sys/devices/platform/usb/usb1/1-1.3/1-1.3:1.0/net/ethupi9/carrier"] = "0"
	want := []Node{
		{ID: 1, USBPath: "1-1.1", Boot: FromCard, LinkState: NoLink, Addresses: addrs("172.19.181.1"),
			Since: now.Add(-time.Minute), device: "1-1.1#8"},
		{ID: 7, USBPath: "1-1.2", Boot: FromCard, Interface: "ethpi7", MAC: "00:22:82:ff:fe:07", Bridge: "br0", LinkState: LinkUp,
			Addresses: addrs("172.19.181.7", "192.168.1.20", "192.168.1.100", "2001:db8::7"), Serial: "/dev/ttypi7",
			Since: now.Add(10*time.Minute - time.Hour), device: "1-1.2#5"},
		{ID: 9, USBPath: "1-1.3", Boot: OverUSB, Interface: "ethupi9", MAC: "00:22:82:ff:fe:07", LinkState: NoCarrier,
			Addresses: addrs("172.19.181.9", "172.19.180.9"), Serial: "/dev/ttypi9",
			Since: now.Add(-time.Minute), device: "1-1.3#6"},
		{ID: 253, USBPath: "1-1.5", Boot: FromCard, Interface: "ethpi253", MAC: "00:22:82:ff:fe:07", LinkState: LinkUp,
			Addresses: addrs("172.19.181.253"), Since: now.Add(-time.Minute), device: "1-1.5#9"},
	}
	var neighbours []Neighbour
	for _, addr := range addrs("172.19.181.7", "2001:db8::7", "192.168.1.100", "192.168.1.20", "192.168.1.20", "fe80::7") {
		neighbours = append(neighbours, Neighbour{"00:22:82:ff:ff:07", addr})
	}
	neighbours = append(neighbours, Neighbour{"00:22:82:ff:fe:07", addrs("10.0.0.1")[0]}, Neighbour{"", addrs("10.0.0.2")[0]})
	got := look(t, f, neighbours...)
	if diff := cmp.Diff(want, got, addrsEqual, cmp.AllowUnexported(Node{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTwins: where two nodes have the same number, the one that has the names comes first
// in the list, even if its port comes after the other's.
func TestTwins(t *testing.T) {
	f := tree{"dev/ttypi7": "->ttyACM0"}
	f.plug("1-1.3", "5", "7", "ClusterCTRL", "ethpi7", "ttyACM0")
	f.plug("1-1.2", "6", "7", "ClusterCTRL", "usb0", "ttyACM1")
	f.plug("1-1.1", "7", "7", "ClusterCTRL-usbboot", "ethupi7", "ttyACM2")
	var got []string
	for _, n := range look(t, f) {
		got = append(got, strings.Join([]string{n.USBPath, n.Interface, n.Serial, map[bool]string{true: "other holds"}[n.OtherHolds]}, " "))
	}
	want := []string{"1-1.1 ethupi7  ", "1-1.3 ethpi7 /dev/ttypi7 ", "1-1.2 usb0  other holds"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNothing(t *testing.T) {
	if got := look(t, tree{}); len(got) > 0 {
		t.Errorf("nodes where there is no USB: %v", got)
	}
}

// TestFollow plays nodes that come and go.
func TestFollow(t *testing.T) {
	whole := func(device string) Node {
		return Node{ID: 7, Boot: FromCard, Interface: "ethpi7", Serial: "/dev/ttypi7", device: device}
	}
	half := Node{ID: 7, Boot: FromCard, Interface: "usb0", device: "1-2#2"}
	twin := Node{ID: 7, Boot: FromCard, Interface: "usb0", OtherHolds: true, device: "1-3#3"}
	again := whole("1-1#9")
	f := newFollower([]Node{whole("1-1#1")})
	for _, step := range []struct {
		what  string
		after time.Duration
		nodes []Node
		want  string
		next  time.Duration
	}{
		{"nothing new", 0, []Node{whole("1-1#1")}, "", 0},
		{"one comes, without names", time.Second, []Node{whole("1-1#1"), half}, "", 4 * time.Second},
		{"it is not told of early", 2 * time.Second, []Node{whole("1-1#1"), half}, "", 4 * time.Second},
		{"but in the end", 4 * time.Second, []Node{whole("1-1#1"), half}, "plugged 1-2#2", 0},
		{"once", 5 * time.Second, []Node{whole("1-1#1"), half}, "", 0},
		{"it goes and a twin comes", 6 * time.Second, []Node{whole("1-1#1"), twin}, "unplugged 1-2#2, plugged 1-3#3", 0},
		{"replugged between two looks", 7 * time.Second, []Node{again, twin}, "unplugged 1-1#1, plugged 1-1#9", 0},
		{"one that was never told of goes", 8 * time.Second, []Node{again, twin, half}, "", 11 * time.Second},
		{"silently", 9 * time.Second, []Node{again, twin}, "", 0},
		{"all go", 10 * time.Second, nil, "unplugged 1-1#9, unplugged 1-3#3", 0},
	} {
		events, next := f.look(now.Add(step.after), step.nodes)
		var got []string
		for _, e := range events {
			got = append(got, string(e.Kind)+" "+e.Node.device)
		}
		var wantNext time.Time
		if step.next > 0 {
			wantNext = now.Add(step.next)
		}
		if diff := cmp.Diff(step.want, strings.Join(got, ", ")); diff != "" || !next.Equal(wantNext) {
			t.Errorf("%s: next look at %v, want %v; events -want +got:\n%s", step.what, next, wantNext, diff)
		}
	}
}
