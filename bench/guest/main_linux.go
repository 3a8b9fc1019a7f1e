// Guest is what the benchmark boots as PID 1 in a virtual machine that has a USB
// device controller wired to a USB port of its own. It prints lines of a word and
// numbers, all measured by the machine's own clock.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"clusterctrl/internal/lab/labtest/guest"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/gadget"
)

func main() {
	guest.Main(func() error {
		if len(os.Args) != 3 {
			return fmt.Errorf("arguments %q: want a part and a number of rounds", os.Args[1:])
		}
		rounds, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(node.SettingsFile), 0o755); err != nil {
			return err
		}
		switch os.Args[1] {
		case "gadget":
			return starts(rounds)
		case "cable":
			return cables(rounds)
		case "firstboot":
			return firstBoots(rounds)
		case "power":
			return switches(rounds)
		}
		return fmt.Errorf("part %q: want gadget, cable, firstboot or power", os.Args[1])
	})
}

const number node.ID = 7

func settle(f node.Gadget) error {
	text := fmt.Sprintf("TYPE=node\nID=%d\nGADGET=%s\n", number, f)
	return os.WriteFile(node.SettingsFile, []byte(text), 0o644)
}

// A starter is one way to have a gadget bound. It returns how long that took.
type starter struct {
	name  string
	start func() (time.Duration, error)
}

// starts measures how long a gadget takes until it is bound, from the start of
// the program to its end.
func starts(rounds int) error {
	if err := settle(node.RNDIS); err != nil {
		return err
	}
	if err := warmUp(); err != nil {
		return err
	}
	starters := []starter{
		{"ours", program(node.CompositePath, "start")},
		{"theirs", program("/bin/sh", "/gadget.sh")},
		{"bind", bind},
	}
	for round := range rounds + 1 {
		for i := range starters {
			s := starters[(round+i)%len(starters)]
			took, err := s.start()
			if err == nil {
				err = checkAndStop()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 { // in the first, programs are read and translated
				fmt.Println(s.name, took.Nanoseconds())
			}
		}
	}
	return nil
}

// warmUp has everything mounted and loaded that a gadget needs.
func warmUp() error {
	if _, err := gadget.Start(context.Background(), gadget.Options{}); err != nil {
		return err
	}
	return stop()
}

// program has a program start the gadget.
func program(args ...string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		begin := time.Now()
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		took := time.Since(begin)
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
		return took, nil
	}
}

// bind binds a gadget that is there, which every program has to do.
func bind() (time.Duration, error) {
	r, err := gadget.Start(context.Background(), gadget.Options{})
	if err != nil {
		return 0, err
	}
	const file = "/sys/kernel/config/usb_gadget/" + node.GadgetName + "/UDC"
	if err := errors.Join(awaitNode(true), os.WriteFile(file, []byte("\n"), 0), awaitNode(false)); err != nil {
		return 0, err
	}
	begin := time.Now()
	err = os.WriteFile(file, []byte(r.UDC+"\n"), 0)
	return time.Since(begin), err
}

// checkAndStop wants a gadget that is bound, and complete to the last attribute,
// and leaves none.
func checkAndStop() error {
	r, err := gadget.Start(context.Background(), gadget.Options{})
	if err != nil || r.Outcome != gadget.Running {
		return fmt.Errorf("it made another gadget: %v, %w", r, err)
	}
	return errors.Join(awaitNode(true), stop())
}

// device is the node as the machine's USB port sees it.
const device = "/sys/bus/usb/devices/1-1"

// stop stops the gadget. The port has nothing left to do then.
func stop() error {
	if _, err := gadget.Stop(gadget.Options{}); err != nil {
		return err
	}
	return awaitNode(false)
}

// awaitNode waits until the machine's USB port knows all of the node, or has
// nothing of it left.
func awaitNode(there bool) error {
	what := device
	if there {
		what += ":1.0"
	}
	return await("usb", func() bool { return len(glob(what)) > 0 == there })
}

func await(subsystem string, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, fmt.Errorf("a minute is over"))
	defer cancel()
	return uevent.Wait(ctx, func() (bool, error) { return done(), nil }, subsystem)
}

func glob(pattern string) []string {
	names, err := filepath.Glob(pattern)
	if err != nil {
		panic(err)
	}
	return names
}
