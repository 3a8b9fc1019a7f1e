// Reconfig-clusterctrl is the program that the kernel of a newly written card starts
// in place of systemd: see package firstboot. It is a program of its own because a
// first boot waits until the whole program is read and set up, and clusterctrl is twice
// as large. If another program than the kernel calls it, it is clusterctrl reconfig.
package main

import (
	"fmt"
	"os"
	"syscall"

	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/firstboot"
)

func main() {
	run := firstboot.Main // it returns only if there is no system to start
	if os.Getpid() != 1 {
		run = reconfig
	}
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "clusterctrl:", err)
		os.Exit(1)
	}
}

func reconfig(args []string) error {
	err := syscall.Exec(node.Program, append([]string{"clusterctrl", "reconfig"}, args[1:]...), os.Environ())
	return &os.PathError{Op: "exec", Path: node.Program, Err: err}
}
