package recipe

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// What wpa_passphrase(8) makes of the network höme;" and the password it's a $ecret.
const (
	testSSID = "h\u00f6me;\""
	testKey  = "d44e80289d7a2cfed2bdfca4464bc734c5e61f93ff4f7f33426d306e3b4b8efe"
)

// TestSupplicant has wpa_supplicant say what it reads in the file that dhcpcd starts it
// with. It has no radio here: a wired link's driver stands for that.
func TestSupplicant(t *testing.T) {
	s, _ := stock(rootfs.DHCPCD)
	s.WifiSSID, s.WifiKey, s.WifiCountry = testSSID, testKey, "DE"
	var conf edit.WriteFile
	for _, e := range s.wifi() {
		if w, ok := e.(edit.WriteFile); ok {
			conf = w
		}
	}
	if conf.Name != "etc/wpa_supplicant/wpa_supplicant-wlan0.conf" || conf.Perm != 0o600 {
		t.Errorf("writes %s with mode %v", conf.Name, conf.Perm)
	}
	name := filepath.Join(t.TempDir(), "wpa.conf")
	if err := os.WriteFile(name, []byte(conf.Data), conf.Perm); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", "wpa_supplicant", "-i", "lo", "-D", "wired", "-c", name, "-dd", "-K")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("wpa_supplicant (as root): %v", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "id=0 ssid=") { // all is read
			break
		}
	}
	hex := "d4 4e 80 28 9d 7a 2c fe d2 bd fc a4 46 4b c7 34 c5 e6 1f 93 ff 4f 7f 33 42 6d 30 6e 3b 4b 8e fe"
	for _, want := range []string{"country='DE'\n", "PSK - hexdump(len=32): " + hex + "\n", `id=0 ssid='h\xc3\xb6me;\"'` + "\n"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in\n%s", want, &said)
		}
	}
}

// TestNoSupplicant: a node keeps its owner's network, and not that of a controller.
func TestNoSupplicant(t *testing.T) {
	s, _ := stock(rootfs.DHCPCD)
	s.WifiSSID, s.WifiKey, s.WifiCountry = testSSID, testKey, "DE"
	if !slices.Contains(s.node(node.ID(7)), edit.Edit(noSupplicant{})) {
		t.Error("a node keeps the key of the controller's network")
	}
	for text, want := range map[string]bool{s.supplicant(): false, "# mine\nnetwork={\n}\n": true} {
		tree, err := rootfs.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		if err := (edit.WriteFile{Name: wifiConf, Data: text, Perm: 0o600}).Apply(tree); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and where there is none
			if err := (noSupplicant{}).Apply(tree); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.Stat(wifiConf); (err == nil) != want {
			t.Errorf("of %q: %v, want it kept: %t", text, err, want)
		}
	}
}

// TestCheckWifi: a network's name is refused where nothing would join that network.
func TestCheckWifi(t *testing.T) {
	file := &fstest.MapFile{}
	whole := fstest.MapFS{"lib/dhcpcd/dhcpcd-hooks/10-wpa_supplicant": file, "sbin/wpa_supplicant": file}
	own := fstest.MapFS{"lib/dhcpcd/dhcpcd-hooks/10-wpa_supplicant": file, "sbin/wpa_supplicant": file, wifiConf: file}
	noHook := fstest.MapFS{"sbin/wpa_supplicant": file, "usr/share/dhcpcd/hooks/10-wpa_supplicant": file}
	for _, tt := range []struct {
		network rootfs.NetworkProgram
		tree    fs.FS
		want    string // in the error, empty for none
	}{
		{rootfs.NetworkManager, fstest.MapFS{}, ""},
		{rootfs.DHCPCD, whole, ""},
		{rootfs.DHCPCD, noHook, "wifi-ssid: dhcpcd would not join a network: open lib/dhcpcd/dhcpcd-hooks/10-wpa_supplicant: file does not exist"},
		{rootfs.DHCPCD, own, "wifi-ssid: the image has its own etc/wpa_supplicant/wpa_supplicant-wlan0.conf: want one of them"},
		{rootfs.IfUpDown, whole, "wifi-ssid: the image's network is set up by ifupdown: want networkmanager or dhcpcd"},
	} {
		s, _ := stock(tt.network)
		if err := s.CheckWifi(tt.tree); err != nil {
			t.Errorf("%s, without a name: %v", tt.network, err)
		}
		s.WifiSSID = testSSID
		got := ""
		if err := s.CheckWifi(tt.tree); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.network, got, tt.want)
		}
	}
}
