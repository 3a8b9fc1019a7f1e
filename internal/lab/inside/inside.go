// Package inside is the lab's part within its virtual machines. [Main] is the first
// program there: it loads the modules that the machine needs, mounts the card's root,
// and starts the system on it as the kernel would have. The card is not changed: all
// that the lab adds is in /run, where systemd finds a unit that runs [Serve], the
// machine's ends of USB cables. The unit counts as started when the HAT, if there is
// one, has its bus: on a real Pi, that bus is there before any program runs.
//
// A node without a card brings its own initramfs, which is left as it is. There the
// lab's part is in a directory of its own, [BareDir], and what [Main] starts from there
// is [ServeBare], in place of the driver of a Pi's USB device controller, and then the
// initramfs's /init.
package inside

// Name is what the program is called in the machine.
const Name = "clusterctrl-lab"

// BareName is what it is called in the machine of a node without a card. By the first
// letter, systemd leaves it alone until the very end: the root file system is reached
// through it (https://systemd.io/ROOT_STORAGE_DAEMONS).
const BareName = "@" + Name

// BareDir is the directory in the initramfs of such a machine, and BareInit the
// program in there that the kernel starts.
const (
	BareDir  = "lab"
	BareInit = "/" + BareDir + "/init"
)

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
