package gadget

import (
	"fmt"
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
)

// Settings are what a node's settings file says of its gadget.
type Settings struct {
	Type   string // TYPE; only nodes have a gadget
	ID     node.ID
	Gadget node.Gadget
	UDC    string // name of the device controller to use, empty for the first
}

// The values of TYPE that are a node's: one that booted from its card, and one
// that booted over USB.
const (
	typeNode    = "node"
	typeUSBBoot = "usbboot"
)

// IsNode tells whether this is a node. Of others only Type is known.
func (s Settings) IsNode() bool { return s.Type == typeNode || s.Type == typeUSBBoot }

// product is what the node calls itself on USB.
func (s Settings) product() string {
	if s.Type == typeUSBBoot {
		return node.USBBootProduct
	}
	return node.Product
}

// ReadSettings reads a settings file, usually [node.SettingsFile].
func ReadSettings(name string) (Settings, error) {
	text, err := defaults.Read(name)
	if err != nil {
		return Settings{}, err
	}
	s, err := parseSettings(text)
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func parseSettings(text defaults.Text) (s Settings, err error) {
	var id, gadget string
	for _, setting := range []struct {
		key   string
		value *string
	}{{"TYPE", &s.Type}, {"ID", &id}, {"GADGET", &gadget}, {"UDC", &s.UDC}} {
		if *setting.value, err = text.Value(setting.key); err != nil {
			return Settings{}, err
		}
	}
	if !s.IsNode() {
		return Settings{Type: s.Type}, nil
	}
	if s.ID, err = parseID(id); err != nil {
		return Settings{}, err
	}
	if s.Gadget, err = parseGadget(gadget); err != nil {
		return Settings{}, err
	}
	if strings.ContainsAny(s.UDC, "/ \t") || s.UDC == "." || s.UDC == ".." {
		return Settings{}, fmt.Errorf("UDC=%s: want a name from /sys/class/udc", s.UDC)
	}
	return s, nil
}

func parseID(value string) (node.ID, error) {
	if value == "" {
		return 0, fmt.Errorf("ID is missing: want %d to %d", node.MinID, node.MaxID)
	}
	id, err := node.ParseNumber(value)
	if err != nil {
		return 0, fmt.Errorf("ID=%s: want %d to %d", value, node.MinID, node.MaxID)
	}
	return id, nil
}

func parseGadget(value string) (node.Gadget, error) {
	if value == "" {
		return node.Gadgets[0], nil
	}
	f := node.Gadget(value)
	if !slices.Contains(node.Gadgets, f) {
		return "", fmt.Errorf("GADGET=%s: want %s, %s or %s", value, node.RNDIS, node.NCM, node.ECM)
	}
	return f, nil
}
