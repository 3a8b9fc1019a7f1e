// Package gadget makes a node a USB device: a network card and a serial
// console, by which its controller knows it.
//
// Linux builds such a device (a gadget) from directories, attributes and links
// in configfs. The list of parts in parts.go says what a node's gadget is made
// of. [Start] compares the list with what is there: a gadget that is complete
// and bound to a device controller (a UDC) is left alone, since the root file
// system may be mounted through it. Anything else is taken down and built anew.
//
// The package starts no process.
package gadget

import (
	"fmt"
	"time"

	"clusterctrl/internal/node"
)

// Options say where things are. The zero value is for a running Pi.
type Options struct {
	Settings string        // the settings file; empty: [node.SettingsFile]
	ConfigFS string        // where configfs is mounted, or will be; empty: /sys/kernel/config
	UDCs     string        // the kernel's list of device controllers; empty: /sys/class/udc
	Modules  string        // the kernel's modules; empty: /lib/modules/<release>
	Wait     time.Duration // for a device controller to appear; zero: 10 seconds
}

func (o Options) withDefaults() Options {
	setDefault(&o.Settings, node.SettingsFile)
	setDefault(&o.ConfigFS, "/sys/kernel/config")
	setDefault(&o.UDCs, "/sys/class/udc")
	setDefault(&o.Wait, 10*time.Second)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Report is what Start or Stop did. Its String is a line for the user.
type Report struct {
	Outcome  Outcome
	Settings Settings // as read by Start
	UDC      string   // that the gadget is bound to, or was
}

// An Outcome is what became of the gadget. The zero Outcome is none.
type Outcome int

// Outcomes of Start are all but the last two.
const (
	NoNode  Outcome = iota + 1 // this is no node, so there is nothing to do
	Started                    // there was no gadget
	Rebuilt                    // there was an incomplete or a different one
	Running                    // it was there already
	Stopped                    // it was there
	Absent                     // there was none to stop
)

func (r Report) String() string {
	what := fmt.Sprintf("gadget of %v (%s and serial console) on %s", r.Settings.ID, r.Settings.Gadget, r.UDC)
	switch r.Outcome {
	case NoNode:
		return fmt.Sprintf("TYPE=%s is no node: no gadget to start", r.Settings.Type)
	case Started:
		return "started the " + what
	case Rebuilt:
		return "took down an incomplete or different gadget, started the " + what
	case Running:
		return "the " + what + " runs already"
	case Stopped:
		if r.UDC == "" {
			return "took down a gadget that was not bound"
		}
		return "stopped the gadget on " + r.UDC
	case Absent:
		return "no gadget to stop"
	}
	return fmt.Sprintf("Outcome(%d)", int(r.Outcome))
}
