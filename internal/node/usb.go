package node

// What a node shows on USB. Controllers in the field know it by these.
const (
	VendorID        = 0x3171
	Manufacturer    = "8086 Consultancy"
	Product         = "ClusterCTRL"         // booted from its card
	USBBootProduct  = "ClusterCTRL-usbboot" // booted over USB
	FirstProductID  = 0x0020                // controllers accept products
	LastProductID   = 0x0025                // from first to last
	SerialInterface = 0x02                  // number of the serial port's control interface
	AdminInterface  = 0x04                  // that of a second port, which some older nodes have

	// For udev rules: any of the products, and the numbers MinID to MaxID, and
	// Unconfigured, as a node's serial number.
	ProductPattern = "002[0-5]"
	SerialPattern  = "[1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-3]"
)

// The rest of what a gadget's descriptors say, in the fields' terms. The class
// is that of a device whose functions have several interfaces each.
const (
	GadgetName     = "ClusterCTRL" // of the gadget in the node's configfs
	USBRelease     = 0x0200        // bcdUSB
	DeviceRelease  = 0x0100        // bcdDevice
	DeviceClass    = 0xef
	DeviceSubClass = 0x02
	DeviceProtocol = 0x01
	Language       = 0x409 // of the strings: English
	MaxPower       = 250   // mA
)

// MicrosoftSignature tells Windows that a device has a [MicrosoftDescriptor].
const MicrosoftSignature = "MSFT100"

// A MicrosoftDescriptor is what Windows finds a driver by. Windows asks for it
// with the request VendorCode. The zero value is none.
type MicrosoftDescriptor struct {
	VendorCode      uint8
	CompatibleID    string
	SubCompatibleID string
}

// A Gadget is the kind of network card that a node shows on USB, beside its serial
// port. It is named after the kernel's function for it.
type Gadget string

// The kinds of network card. RNDIS is the default; Windows and newer kernels drop
// it.
const (
	RNDIS Gadget = "rndis"
	NCM   Gadget = "ncm"
	ECM   Gadget = "ecm"
)

// Gadgets are all kinds of network card, the default first.
var Gadgets = []Gadget{RNDIS, NCM, ECM}

// ProductID is the USB product of a node with the network card; zero if g is
// unknown.
func (g Gadget) ProductID() uint16 {
	switch g {
	case RNDIS:
		return 0x0020
	case NCM:
		return 0x0021
	case ECM:
		return 0x0022
	}
	return 0
}

// Microsoft is the descriptor by which Windows finds a driver for the network card.
// There is none for ECM, for which Windows has no driver.
func (g Gadget) Microsoft() MicrosoftDescriptor {
	switch g {
	case RNDIS:
		return MicrosoftDescriptor{0xcd, "RNDIS", "5162001"}
	case NCM:
		return MicrosoftDescriptor{0xbc, "WINNCM", ""}
	}
	return MicrosoftDescriptor{}
}

// USBBootType is the value of TYPE in the settings file of a node that booted over
// USB.
const USBBootType = "usbboot"

// GadgetArg is the word of the kernel's command line that says which network card
// a node without a card of its own has on USB, before there is a settings file.
const GadgetArg = "clusterctrl.gadget"
