// Package sampletest gives the sample image, for tests, what it lacks.
package sampletest

import (
	"errors"
	"io/fs"

	"clusterctrl/internal/tree/rootfs"
)

// modules are the kernel modules that a node without a card needs.
var modules = []string{"libcomposite", "usb_f_ecm", "usb_f_ncm", "usb_f_rndis", "usb_f_acm", "dwc2", "8021q", "nbd"}

// AddKernel adds a kernel with all modules that a node without a card needs. Each module
// holds its own name and depends on no other.
func AddKernel(tree *rootfs.Image) error {
	const dir = "usr/lib/modules/6.12.25+rpt-rpi-v8"
	for _, name := range []string{"usr/lib/modules", dir, dir + "/kernel"} {
		if err := tree.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	index := ""
	for _, name := range modules {
		file := "kernel/" + name + ".ko"
		index += file + ":\n"
		if err := tree.WriteFile(dir+"/"+file, []byte(name), 0o644); err != nil {
			return err
		}
	}
	return tree.WriteFile(dir+"/modules.dep", []byte(index), 0o644)
}
