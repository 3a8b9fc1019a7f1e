//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "clusterctrl: this is a program for a Pi without a card")
	os.Exit(1)
}
