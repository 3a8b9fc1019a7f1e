package main

import (
	"os"
	"path/filepath"
	"testing"

	"clusterctrl/internal/controller/cluster"
	"clusterctrl/internal/node"
)

// bare are the descriptors of a Zero 2 W without a card, whose serial number has that
// index: 3 in its ROM, else in firmware that asks for files.
func bare(serial byte) string {
	return "\x12\x01\x00\x02\xff\xff\xff\x40\x5c\x0a\x64\x27\x00\x00\x01\x02" + string(serial) + "\x01" +
		"\x09\x02\x20\x00\x01\x01\x00\xc0\xfa"
}

// TestRootState: each state that a node without a card goes through, by what its
// controller sees in /sys and /dev, and by what the node answers.
func TestRootState(t *testing.T) {
	const id, path = node.ID(5), "1-1.2"
	device := func(product string) map[string]string {
		dir := "sys/bus/usb/devices/" + path + "/"
		return map[string]string{dir + "idVendor": "3171", dir + "idProduct": "0022", dir + "serial": "5", dir + "product": product,
			dir + path + ":1.0/net/ethupi5/address": "00:22:82:ff:fe:05", dir + path + ":1.2/tty/ttyACM0/dev": "166:0"}
	}
	rom := map[string]string{"sys/bus/usb/devices/" + path + "/descriptors": bare(3)}
	loader := map[string]string{"sys/bus/usb/devices/" + path + "/descriptors": bare(1)}
	usb, card := device(node.USBBootProduct), device(node.Product)
	for _, tt := range []struct {
		want            string
		files           map[string]string
		on              bool
		mounted, letsIn bool
		port            bool // udev has named the serial port
	}{
		{want: "off"},
		{want: "on", on: true},
		{want: "enumerated", on: true, files: rom},
		{want: "boot files", on: true, files: loader},
		{want: "started", on: true, files: usb, port: true},
		{want: "root mounted", on: true, files: usb, mounted: true},
		{want: "console", on: true, files: usb, mounted: true, port: true},
		{want: "ssh", on: true, files: usb, mounted: true, port: true, letsIn: true},
		{want: "started from a card", on: true, files: card, port: true},
		{want: "boot files", on: true, files: loader, mounted: true}, // a connection of before
	} {
		t.Run(tt.want, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tt.port {
				if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("ttyACM0", filepath.Join(root, "dev", id.Port())); err != nil {
					t.Fatal(err)
				}
			}
			machine := cluster.Machine{Files: os.DirFS(root)}
			plugged, err := machine.Nodes()
			if err != nil {
				t.Fatal(err)
			}
			look := nodesLook{
				nodes:  cluster.WithPower(plugged, []cluster.Supply{{Node: id, On: tt.on}}),
				files:  machine.Files,
				letsIn: func(node.ID) bool { return tt.letsIn },
			}
			if tt.mounted {
				look.mounted = []node.ID{id}
			}
			if got := look.state(id, path); got != tt.want {
				t.Errorf("state %q, want %q", got, tt.want)
			}
		})
	}
}
