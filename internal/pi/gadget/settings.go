package gadget

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"clusterctrl/internal/node"
)

// Settings are what a node's settings file says of its gadget.
type Settings struct {
	Type     string // TYPE; only those of nodes have a gadget
	ID       node.ID
	Function node.Function
	UDC      string // name of the device controller to use, empty for the first
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
	text, err := os.ReadFile(name)
	if err != nil {
		return Settings{}, err
	}
	s, err := parseSettings(string(text))
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// ReadType reads what a settings file says that this is, node or controller, and
// nothing else of it.
func ReadType(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	values, err := assignments(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return values["TYPE"], nil
}

func parseSettings(text string) (Settings, error) {
	values, err := assignments(text)
	if err != nil {
		return Settings{}, err
	}
	s := Settings{Type: values["TYPE"]}
	if !s.IsNode() {
		return s, nil
	}
	if s.ID, err = parseID(values["ID"]); err != nil {
		return Settings{}, err
	}
	if s.Function, err = parseFunction(values["GADGET"]); err != nil {
		return Settings{}, err
	}
	s.UDC = values["UDC"]
	if strings.ContainsAny(s.UDC, "/ \t") || s.UDC == "." || s.UDC == ".." {
		return Settings{}, fmt.Errorf("UDC=%s: want a name from /sys/class/udc", s.UDC)
	}
	return s, nil
}

func parseID(value string) (node.ID, error) {
	if value == "" {
		return 0, fmt.Errorf("ID is missing: want %d to %d", node.MinID, node.MaxID)
	}
	id, err := node.ParseID("p" + value)
	if err != nil {
		return 0, fmt.Errorf("ID=%s: want %d to %d", value, node.MinID, node.MaxID)
	}
	return id, nil
}

func parseFunction(value string) (node.Function, error) {
	if value == "" {
		return node.Functions[0], nil
	}
	f := node.Function(value)
	if !slices.Contains(node.Functions, f) {
		return "", fmt.Errorf("GADGET=%s: want %s, %s or %s", value, node.RNDIS, node.NCM, node.ECM)
	}
	return f, nil
}

var assignment = regexp.MustCompile(`^(?:export[ \t]+)?(TYPE|ID|GADGET|UDC)=(.*)$`)

// assignments reads the lines KEY=value that are about the gadget, the last of
// each key, as a shell would as far as no shell is needed. The other lines are
// somebody else's.
func assignments(text string) (map[string]string, error) {
	values := map[string]string{}
	n := 0
	const byteOrderMark = "\ufeff" // Windows' editors put one in front
	for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
		n++
		m := assignment.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		value, err := unquote(m[2])
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n, m[1], err)
		}
		values[m[1]] = value
	}
	return values, nil
}

// unquote takes away quotes and a comment behind the value.
func unquote(value string) (string, error) {
	var b strings.Builder
	quote := rune(0)
	for _, r := range value {
		switch {
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == ' ' || r == '\t' || r == ';'):
			return b.String(), nil
		default:
			b.WriteRune(r)
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("no closing %c", quote)
	}
	return b.String(), nil
}
