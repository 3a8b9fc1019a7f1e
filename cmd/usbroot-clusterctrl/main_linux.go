// Usbroot-clusterctrl is /init in the initramfs of a node that has no card: see
// package usbroot. It is a program of its own because it travels over USB at each
// start of each node.
package main

import (
	"fmt"
	"os"

	"clusterctrl/internal/pi/usbroot"
)

func main() {
	err := usbroot.Main(os.Args) // it returns only if there is no system to start
	fmt.Fprintln(os.Stderr, "clusterctrl:", err)
	os.Exit(1)
}
