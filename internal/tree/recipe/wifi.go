package recipe

import (
	"fmt"
	"io/fs"
	"strings"

	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// wifi returns the edits that have a controller join a Wi-Fi network. A node's branding
// takes the profile out again.
func (s System) wifi() []edit.Edit {
	var name strings.Builder // as bytes: a name may hold any
	for _, b := range []byte(s.WifiSSID) {
		fmt.Fprintf(&name, "%d;", b)
	}
	return []edit.Edit{
		profile(wifiProfileName, "wifi", fmt.Sprintf(`interface-name=wlan0

[wifi]
mode=infrastructure
ssid=%s

[wifi-security]
key-mgmt=wpa-psk
psk=%s

[ipv4]
method=auto

[ipv6]
method=auto
`, &name, s.WifiKey)),
		radioOn{},
	}
}

// radioOn turns on Wi-Fi, which the vendor leaves off as long as no country was chosen:
// by NetworkManager's state, and by that of the switches that systemd-rfkill(8) keeps.
type radioOn struct{}

func (radioOn) String() string { return "turn Wi-Fi on" }

func (radioOn) Apply(tree rootfs.Tree) error {
	const state = "var/lib/NetworkManager/NetworkManager.state"
	if exists(tree, state) {
		if err := (edit.Setting{Name: state, Key: "WirelessEnabled", Value: "true"}).Apply(tree); err != nil {
			return err
		}
	}
	switches, err := fs.Glob(tree, "var/lib/systemd/rfkill/*:wlan")
	if err != nil {
		return err
	}
	for _, name := range switches {
		if err := (edit.WriteFile{Name: name, Data: "0\n"}).Apply(tree); err != nil {
			return err
		}
	}
	return nil
}
