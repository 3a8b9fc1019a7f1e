package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Dhcpcd starts wpa_supplicant by a hook, which takes the file of an interface before the
// one for all.
const (
	wifiHook    = "lib/dhcpcd/dhcpcd-hooks/10-wpa_supplicant"
	wifiProgram = "sbin/wpa_supplicant"
	wifiConf    = "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
)

// CheckWifi reports an image whose programs would not join the network that the settings
// name.
func (s System) CheckWifi(tree fs.FS) error {
	switch {
	case s.WifiSSID == "" || s.Network == rootfs.NetworkManager:
		return nil
	case s.Network != rootfs.DHCPCD:
		return fmt.Errorf("wifi-ssid: the image's network is set up by %s: want %s or %s", s.Network, rootfs.NetworkManager, rootfs.DHCPCD)
	}
	for _, name := range []string{wifiHook, wifiProgram} {
		if _, err := fs.Stat(tree, name); err != nil {
			return fmt.Errorf("wifi-ssid: dhcpcd would not join a network: %w", err)
		}
	}
	if text, err := rootfs.ReadText(tree, wifiConf); !errors.Is(err, fs.ErrNotExist) && !isOurs(text) {
		return fmt.Errorf("wifi-ssid: the image has its own %s: want one of them", wifiConf)
	}
	return nil
}

const supplicantHead = "# Written by clusterctrl.\n"

func isOurs(supplicant []byte) bool { return bytes.HasPrefix(supplicant, []byte(supplicantHead)) }

// noSupplicant removes the file with the network that a controller joins, unless the file
// is the owner's.
type noSupplicant struct{}

func (noSupplicant) String() string { return "remove " + wifiConf + " if it is ours" }

func (noSupplicant) Apply(tree rootfs.Tree) error {
	text, err := rootfs.ReadText(tree, wifiConf)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !isOurs(text) {
		return nil
	}
	if err != nil {
		return err
	}
	return tree.Remove(wifiConf)
}

// wifi returns the edits that have a controller join a Wi-Fi network. A node's branding
// takes the file with the key out again.
func (s System) wifi() []edit.Edit {
	if s.Network == rootfs.DHCPCD {
		return []edit.Edit{edit.WriteFile{Name: wifiConf, Data: s.supplicant(), Perm: 0o600}, radioOn{}}
	}
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

// supplicant is the text for wpa_supplicant.conf(5). The name is in hex, since it may hold
// any bytes.
func (s System) supplicant() string {
	return supplicantHead + fmt.Sprintf(`ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev
update_config=1
country=%s

network={
	ssid=%x
	key_mgmt=WPA-PSK
	psk=%s
}
`, s.WifiCountry, s.WifiSSID, s.WifiKey)
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
