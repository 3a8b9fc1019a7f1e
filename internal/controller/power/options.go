package power

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
)

// Options are what a controller's settings file says of its boards.
type Options struct {
	Force   Version       // CLUSTERHAT_FORCE: there is a HAT of this version, whatever its EEPROM says
	Size    int           // CLUSTERHAT_SIZE: nodes on the HAT, 1 to 4
	HubPath string        // CLUSTERHATV1: USB path of the hub of a ClusterHAT v1
	Delay   time.Duration // CLUSTERCTRL_DELAY: from one node that is switched on to the next
	FanLine int           // FANGPIO: GPIO number of the controller's own fan
	Links   bool          // LINK: have init make links for nodes that boot over USB
	PowerOn string        // POWER_ON: what init switches on; see ParsePowerOn
}

// Words of POWER_ON besides "all" and sets of nodes.
const (
	PowerOnNone = "none"
	PowerOnLast = "last" // the nodes whose last command was on
)

// ParseOptions reads options from a settings file. An option that is not set has the
// value that controllers have always had.
func ParseOptions(text defaults.Text) (Options, error) {
	o := Options{Size: hatMaxNodes, Delay: time.Second, FanLine: 18, Links: true, PowerOn: PowerOnNone}
	for _, option := range []struct {
		key string
		set func(value string) error
	}{
		{"CLUSTERHAT_FORCE", func(v string) (err error) { o.Force, err = ParseVersion(v); return err }},
		{"CLUSTERHAT_SIZE", number(&o.Size, 1, hatMaxNodes)},
		{"CLUSTERHATV1", o.setHubPath},
		{"CLUSTERCTRL_DELAY", o.setDelay},
		{"FANGPIO", number(&o.FanLine, 0, 53)}, // lines that a BCM2835 has
		{"LINK", o.setLinks},
		{"POWER_ON", o.setPowerOn},
	} {
		value, err := text.Value(option.key)
		if err != nil {
			return Options{}, err
		}
		if value == "" {
			continue
		}
		if err := option.set(value); err != nil {
			return Options{}, fmt.Errorf("%s=%s: %w", option.key, value, err)
		}
	}
	return o, nil
}

func number(n *int, least, most int) func(string) error {
	return func(value string) error {
		var err error
		if *n, err = strconv.Atoi(value); err != nil || *n < least || *n > most {
			return fmt.Errorf("want %d to %d", least, most)
		}
		return nil
	}
}

func (o *Options) setHubPath(value string) error {
	if !usbDevice.MatchString(value) {
		return fmt.Errorf("want a USB path such as 1-1.2")
	}
	o.HubPath = value
	return nil
}

func (o *Options) setDelay(value string) error {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 3600 {
		return fmt.Errorf("want seconds, 0 to 3600, such as 1 or 0.5")
	}
	o.Delay = time.Duration(seconds * float64(time.Second))
	return nil
}

func (o *Options) setLinks(value string) error {
	if value != "0" && value != "1" {
		return fmt.Errorf("want 0 or 1")
	}
	o.Links = value == "1"
	return nil
}

func (o *Options) setPowerOn(value string) error {
	o.PowerOn = value
	if value == PowerOnNone || value == PowerOnLast {
		return nil
	}
	_, err := node.ParseSet(strings.Fields(value), []node.ID{node.MinID})
	if err != nil {
		return fmt.Errorf("%w; or none, all or last", err)
	}
	return nil
}
