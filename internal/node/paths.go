package node

// Where things are on a Pi of the cluster. Other programs and older images
// know these names.
const (
	Program       = "/usr/sbin/clusterctrl"
	ReconfigPath  = "/usr/sbin/reconfig-clusterctrl" // a program of its own
	CompositePath = "/usr/sbin/composite-clusterctrl"
	SettingsFile  = "/etc/default/clusterctrl"
	ShareDir      = "/usr/share/clusterctrl"
	StateDir      = "/var/lib/clusterctrl"
	RPIBootDir    = StateDir + "/boot"
	NFSRoots      = StateDir + "/nfs"
)

// Aliases are the program's other names, which units, kernel command lines,
// udev rules and users call it by.
var Aliases = []string{"clusterhat", "composite-clusterctrl", "usbboot-init"}
