// Package inside is the lab's part within its virtual machines. [Main] is the first
// program there: it loads the modules that the machine needs, mounts the card's root,
// and starts the system on it as the kernel would have. The card is not changed: all
// that the lab adds is in /run, where systemd finds a unit that runs [Serve], the
// machine's ends of USB cables. The unit counts as started when the HAT, if there is
// one, has its bus: on a real Pi, that bus is there before any program runs.
package inside

// Name is what the program is called in the machine.
const Name = "clusterctrl-lab"

// The streams of cables are ports of virtio's serial device, which have names.
const (
	// NodeStream is the stream of a node's cable.
	NodeStream = "clusterctrl.node"
	// ControllerStream is the stream of a controller's cable; the number of the USB
	// port follows.
	ControllerStream = "clusterctrl.controller."
	// HATStream is the same for the cable that is in place of a HAT's bus.
	HATStream = "clusterctrl.hat."
)
