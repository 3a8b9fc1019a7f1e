package recipe

import (
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
)

// InitramfsPrefix begins the names of our initramfs on the boot partition of a disk that a
// controller gives to a node. The vendor's name follows, so that both can be there.
const InitramfsPrefix = "clusterctrl-"

// DiskCommandLine returns what the text of a cmdline.txt becomes where the controller gives
// a node its disk: with the word that says where the disk is. It comes first: the words for
// a program that runs as PID 1 are at the end, and Raspberry Pi Imager's script deletes what
// is behind its own. There is no ip=: the kernel would look for the node's link for twelve
// seconds before the initramfs can make that.
func DiskCommandLine(text string, id node.ID) (string, error) {
	words, err := edit.ParseCommandLine(text)
	if err != nil {
		return "", err
	}
	words = slices.DeleteFunc(words, func(w string) bool {
		key, _, _ := strings.Cut(w, "=")
		return key == node.DiskArg || key == "ip" || key == "nfsroot"
	})
	return slices.Insert(words, 0, node.DiskArg+"="+id.DiskWord()).String() + "\n", nil
}

// DiskConfig returns what the text of a config.txt becomes where the controller gives a node
// its disk. The firmware loads the initramfs that goes with the kernel, and the node is
// a USB device even if its first boot, before which it is a host, is still to come.
func DiskConfig(text string, id node.ID) string {
	return strings.TrimSuffix(bootConfig("", id.Role()).In(text), "\n") + "\n[all]\nauto_initramfs=1\n"
}
