package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/linux/usbip"
	"clusterctrl/internal/node"
)

// switches measures how long it takes to ask boards how they are, and to switch a
// node on, by our program and by a script that does the same transactions.
func switches(rounds int) error {
	hat := &board.HAT{Version: 0x24, PullUps: true}
	triple := &board.Firmware{Kind: board.Triple, ADC: []board.Reading{{Kind: 1, Raw: 780}, {Kind: 2, Raw: 156}}, Temperature: 284}
	filler := &board.HAT{Version: 0x24} // takes bus 0: a ClusterHAT is on bus 1
	for port, b := range []*board.Bus{filler.Device(), hat.Device(), triple.Device()} {
		if _, err := board.PlugIn(context.Background(), usbip.Port(port), b); err != nil {
			return err
		}
	}
	if err := os.WriteFile(node.SettingsFile, []byte("TYPE=c\nCLUSTERHAT_FORCE=2.4\nLINK=0\n"), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command(node.Program, "init").CombinedOutput(); err != nil {
		return fmt.Errorf("init: %w: %s", err, out)
	}
	sides := []struct {
		name  string
		words []string
	}{{"ours", []string{node.Program}}, {"theirs", []string{"/usr/bin/python3", "/power.py"}}}
	for round := range rounds + 1 {
		for i := range sides {
			side := sides[(round+i)%len(sides)]
			for name, words := range map[string][]string{"-status": {"status"}, "-on": {"on", "p1"}} {
				hat.Write([]byte{0x01, 0x90}) // all nodes off, as by another program
				line, err := weigh(append(side.words[:len(side.words):len(side.words)], words...))
				if err != nil {
					return fmt.Errorf("%s%s: %w", side.name, name, err)
				}
				if name == "-on" && !hat.State().Power[1] {
					return fmt.Errorf("%s: p1 is off", side.name)
				}
				if round > 0 { // in the first, programs are read and translated
					fmt.Println(side.name+name, line)
				}
			}
		}
	}
	return nil
}

// weigh runs a program and returns how long it took, in nanoseconds, and how much
// memory it had at its peak, in KiB. Time(1), which has little memory itself, starts
// it: at first a process has the memory of the one that it was forked from.
func weigh(words []string) (string, error) {
	const report = "/time.txt"
	begin := time.Now()
	out, err := exec.Command("/bin/time", append([]string{"-f", "%M", "-o", report}, words...)...).CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	kib, err := os.ReadFile(report)
	return fmt.Sprint(took.Nanoseconds(), " ", strings.TrimSpace(string(kib))), err
}
