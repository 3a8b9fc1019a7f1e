// Restarter is a guest that ends as its last argument asks.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"clusterctrl/internal/lab/labtest/guest"
)

func main() {
	guest.Main(func() error {
		fmt.Printf("guest: arguments %q\n", os.Args[1:])
		switch os.Args[len(os.Args)-1] {
		case "restart":
			guest.Restart()
		case "die": // as the kernel does without PID 1
			os.Exit(1)
		case "echo": // until the power is cut
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				fmt.Printf("guest: heard %s\n", strings.ToUpper(in.Text()))
			}
		}
		return nil
	})
}
