package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"clusterctrl/internal/node"
)

// measureGadget compares the start of a node's gadget, in a virtual machine.
func (b bench) measureGadget(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "clusterctrl-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files, err := programs(ctx, "dash", "mkdir", "ln", "ls")
	if err != nil {
		return err
	}
	files["bin/sh"], files["gadget.sh"] = files["bin/dash"], "bench/gadget.sh"
	if files[strings.TrimPrefix(node.CompositePath, "/")], err = build(ctx, "./cmd/clusterctrl", dir, "amd64"); err != nil {
		return err
	}
	lines, err := machine{model: "amd64", part: "gadget", rounds: 5 * b.rounds, modules: gadgetModules, files: files}.run(ctx)
	if err != nil {
		return err
	}
	const ours, theirs, bind = "composite-clusterctrl start", "gadget.sh, by dash and coreutils", "the kernel's share of either: to bind it"
	costs, err := times(lines, map[string]string{"ours": ours, "theirs": theirs, "bind": bind})
	if err != nil {
		return err
	}
	return contest{"a node's gadget, from nothing to bound, in a virtual machine", []entry{{name: ours}, {name: theirs}, {name: bind}},
		[]goal{faster(ours, theirs, 3)}}.printTimes(costs)
}

// times takes the times of entries, and the memory in KiB where there is one, out of the
// lines of a guest, which has other names for the entries.
func times(lines []string, titles map[string]string) (map[string][]cost, error) {
	costs := map[string][]cost{}
	for _, line := range lines {
		var name string
		var wall time.Duration
		var memory int64
		if n, _ := fmt.Sscan(line, &name, (*int64)(&wall), &memory); n >= 2 && titles[name] != "" {
			costs[titles[name]] = append(costs[titles[name]], cost{wall: wall, memory: memory << 10})
		}
	}
	if len(costs) != len(titles) {
		return nil, fmt.Errorf("the machine says:\n%s", strings.Join(lines, "\n"))
	}
	return costs, nil
}

// printTimes is print for what takes milliseconds.
func (c contest) printTimes(costs map[string][]cost) error {
	fmt.Printf("\n%s\n", c.title)
	medians := map[string]cost{}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "milliseconds\tfrom\tto\t\n")
	ms := func(c cost) float64 { return float64(c.wall) / float64(time.Millisecond) }
	for _, e := range c.entries {
		m, all := median(costs[e.name])
		medians[e.name] = m
		fmt.Fprintf(w, "%.1f\t%.1f\t%.1f\t  %s\n", ms(m), ms(all[0]), ms(all[len(all)-1]), e.name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, goal := range c.goals {
		fmt.Println(goal(medians))
	}
	return nil
}

// measureCable compares the kinds of network card that a gadget can have, with
// both ends of the cable in one virtual machine.
func (b bench) measureCable(ctx context.Context) error {
	modules := append(slices.Clone(gadgetModules), "rndis_host", "cdc_ncm", "cdc_ether", "cdc-acm", "nfsd", "nfsv4")
	lines, err := machine{model: "amd64", part: "cable", rounds: b.rounds, modules: modules}.run(ctx)
	if err != nil {
		return err
	}
	fmt.Print("\na node's cable, both ends in one virtual machine\n")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "ping ms\tto controller MB/s\tto node MB/s\tNFS read MB/s\tof 4 KiB a second\t\n")
	for _, f := range node.Gadgets {
		var pings, sent, received, whole, random []float64
		for _, line := range lines {
			numbers, ok := strings.CutPrefix(line, string(f)+" ")
			fields := strings.Fields(numbers)
			if !ok || len(fields) != 5 {
				continue
			}
			for i, column := range []*[]float64{&pings, &sent, &received, &whole, &random} {
				v, err := strconv.ParseFloat(fields[i], 64)
				if err != nil {
					return fmt.Errorf("%q: %w", line, err)
				}
				*column = append(*column, v/1e6)
			}
		}
		if len(pings) != b.rounds {
			return fmt.Errorf("the machine says:\n%s", strings.Join(lines, "\n"))
		}
		fmt.Fprintf(w, "%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t  %s\n", middle(pings), middle(sent), middle(received), middle(whole), 1e6*middle(random), f)
	}
	return w.Flush()
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
