package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/node"
)

// VouchByPath returns a [Service.Vouch] that trusts the USB port that a node is plugged
// into, and not the number that the node shows: the link of that port in bootDir, by which
// the node found its boot files, has to lead to the node's disk.
func (d Dir) VouchByPath(bootDir string) func(node.ID) error {
	return d.vouchByPath("/sys/class/net", bootDir)
}

func (d Dir) vouchByPath(links, bootDir string) func(node.ID) error {
	return func(id node.ID) error {
		device, err := filepath.EvalSymlinks(filepath.Join(links, id.USBBootLink(), "device"))
		if err != nil {
			return fmt.Errorf("it has the address of %v, and there is no link %s", id, id.USBBootLink())
		}
		usbPath, _, _ := strings.Cut(filepath.Base(device), ":") // the rest is the interface
		target, err := os.Readlink(filepath.Join(bootDir, usbPath))
		if err != nil {
			return nil // no board has said which node is there
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(bootDir, target)
		}
		if filepath.Clean(target) != filepath.Clean(d.file(id)) {
			return fmt.Errorf("it has the address of %v, and is at USB path %s, whose boot files are in %s", id, usbPath, target)
		}
		return nil
	}
}
