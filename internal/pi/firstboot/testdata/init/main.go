// Init stands in for systemd: it prints how it was started.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	var root syscall.Statfs_t
	if err := syscall.Statfs("/", &root); err != nil {
		fmt.Println(err)
	}
	_, err := os.Stat("/proc/self")
	fmt.Printf("init %q pid=%d proc=%v read-only=%v\n", os.Args, os.Getpid(), err == nil, root.Flags&1 == 1)
}
