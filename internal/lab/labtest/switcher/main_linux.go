// Switcher is the only program of a machine in a rig: it is /sbin/init on its card. It
// connects the machine's cables, and does what it hears on the console, a line each:
//
//	bind 3171 0011   bind the driver of I2C buses to USB devices of this kind
//	cat FILE         print a file, once it is there
//	gone FILE        wait until there is no such file
//	rpiboot DIR      serve boot files to nodes without cards
//	i2c-1 03 00      write to a register of the chip on a bus
//	i2c-1 00         read one
//	off              switch the machine off
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/controller/rpiboot"
	"clusterctrl/internal/lab/labtest/guest"
	"clusterctrl/internal/linux/uevent"
)

func main() {
	fmt.Println("switcher: on")
	cables := exec.Command("/run/clusterctrl-lab/clusterctrl-lab")
	cables.Stdout, cables.Stderr = os.Stdout, os.Stderr
	if err := cables.Start(); err != nil {
		fmt.Println("switcher:", err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "off" {
			break
		}
		answer, err := do(strings.Fields(in.Text()))
		if err != nil {
			answer = err.Error()
		}
		fmt.Printf("switcher: %s: %s.\n", in.Text(), answer)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func do(words []string) (answer string, err error) {
	switch {
	case len(words) == 3 && words[0] == "bind":
		return "done", os.WriteFile("/sys/bus/usb/drivers/i2c-tiny-usb/new_id", []byte(words[1]+" "+words[2]), 0)
	case len(words) == 2 && words[0] == "rpiboot":
		server := rpiboot.Server{Dir: words[1], Report: func(e rpiboot.Event) {
			if e.Step != rpiboot.FileAsked {
				fmt.Printf("switcher: rpiboot: %s %s.\n", e.Path, e.Step)
			}
		}}
		go func() { fmt.Println("switcher: rpiboot:", server.Run(context.Background())) }()
		return "done", nil
	case len(words) == 2 && words[0] == "gone":
		return "done", uevent.Wait(context.Background(), func() (bool, error) {
			_, err := os.Stat(words[1])
			return err != nil, nil
		})
	case len(words) == 2 && words[0] == "cat":
		if err := guest.Await(words[1]); err != nil {
			return "", err
		}
		text, err := os.ReadFile(words[1])
		return strings.TrimRight(string(text), "\x00\n"), err
	case len(words) == 2 || len(words) == 3:
		return transfer("/dev/"+words[0], words[1:])
	}
	return "", errors.New("want bind, cat, gone, rpiboot or a bus")
}

// transfer writes all numbers but the first to registers, from that on, or reads one.
func transfer(name string, numbers []string) (string, error) {
	if err := guest.Await(name); err != nil {
		return "", err
	}
	bus, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer bus.Close()
	const slave, board = 0x0703, 0x20 // I2C_SLAVE of linux/i2c-dev.h
	if err := unix.IoctlSetInt(int(bus.Fd()), slave, board); err != nil {
		return "", err
	}
	b := make([]byte, len(numbers))
	for i, number := range numbers {
		if _, err := fmt.Sscanf(number, "%x", &b[i]); err != nil {
			return "", err
		}
	}
	if _, err := bus.Write(b); err != nil || len(b) > 1 {
		return "done", err
	}
	_, err = bus.Read(b)
	return fmt.Sprintf("%02x", b), err
}
