// Package inside is what the lab has within its virtual machines. [Main] is the
// first program there: it loads the modules that the machine needs, mounts the
// card's root, and starts the system on it as the kernel would have. The card is
// left as it is: all that the lab adds is in /run, where systemd finds a unit that
// runs [Serve], the machine's ends of USB cables. The unit is up when the HAT, if there
// is one, has its bus, as it has on a Pi before any program runs.
package inside

// Name is what the program is called in the machine.
const Name = "clusterctrl-lab"

// The streams of cables are ports of virtio's serial device, which have names.
const (
	// NodeStream is that of a node's cable.
	NodeStream = "clusterctrl.node"
	// ControllerStream is that of a controller's cable; the number of the USB
	// port follows.
	ControllerStream = "clusterctrl.controller."
	// HATStream is the same for the cable that is in place of a HAT's bus.
	HATStream = "clusterctrl.hat."
)
