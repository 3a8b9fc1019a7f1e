package node

// Where things are on a Pi of the cluster. Other programs and older images
// know these names.
const (
	Program       = "/usr/sbin/clusterctrl"
	ReconfigPath  = "/usr/sbin/reconfig-clusterctrl" // a program of its own
	CompositePath = "/usr/sbin/composite-clusterctrl"
	SettingsFile  = "/etc/default/clusterctrl"
	ShareDir      = "/usr/share/clusterctrl"
	VersionFile   = ShareDir + "/version"             // of the program that built the image
	USBRootPath   = ShareDir + "/usbroot-clusterctrl" // a program of its own, which an initramfs starts
	StateDir      = "/var/lib/clusterctrl"
	RPIBootDir    = StateDir + "/boot"
	NFSRoots      = StateDir + "/nfs"
	Disks         = StateDir + "/disk" // of nodes without cards: a file for each, and their bases in base
)

// An Alias is another name of the program on a Pi, by which units, kernel command
// lines, udev rules and users of older images call it.
type Alias struct {
	Path string
	Verb string // the command that it stands for, empty for none
}

// Aliases are all other names of the program.
var Aliases = []Alias{
	{"/usr/bin/clusterctrl", ""}, // where all users find it
	{"/usr/sbin/clusterhat", ""},
	{CompositePath, "composite"},
	{"/usr/sbin/usbboot-init", "usbboot init"},
	{ShareDir + "/reconfig-usbboot", "usbboot init"},
}

// KernelHook is the name of the program among those that a node without a card runs when
// a kernel came or went, or when it made an initramfs of its own. It comes behind the
// vendor's, which put kernels and initramfs into the boot directory.
const KernelHook = "zz-clusterctrl"

// KernelHookDirs have the programs that are run then, with the kernel's release and a
// file as arguments (kernel-img.conf(5), update-initramfs(8)).
var KernelHookDirs = []string{"/etc/kernel/postinst.d", "/etc/kernel/postrm.d", "/etc/initramfs/post-update.d"}
