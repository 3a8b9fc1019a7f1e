package lab

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A model is a kind of machine that QEMU emulates.
type model struct {
	qemu   string   // the program
	args   []string // what QEMU is told about the machine
	disk   string   // interface of the disk, as QEMU's -drive calls it
	kernel string   // what a Pi's firmware starts unless config.txt says otherwise; empty if no Pi
	words  []string // kernel arguments that the emulation needs

	// sections are the sections of config.txt that are for this machine.
	sections []string
	// trees are the device trees of the machine, in the order in which its firmware
	// prefers them. Each kernel names its serial ports by its device tree.
	trees []deviceTree
}

// A deviceTree is a device tree with which a kernel runs on a model.
type deviceTree struct {
	file string
	port string // the serial port that is the console, as the kernel calls it
	uart int    // the same, as QEMU counts
}

// models are the machines by name. The raspi ones have the device trees of the
// vendor's kernel and of Debian's, which calls boards by another chip's name.
var models = map[string]model{
	"raspi0": {
		qemu: "qemu-system-arm",
		// The timer of the BCM2835 strikes when its counter equals the value that the
		// kernel wrote, so that a value that is past at the time strikes 71 minutes
		// later. On a busy host the counter passed it while QEMU waited for a
		// processor, and the kernel slept on. Counted in instructions, no time passes
		// while QEMU waits.
		args:   []string{"-M", "raspi0", "-icount", "shift=1"},
		disk:   "sd",
		kernel: "kernel.img",
		// The driver of the power domains stops the kernel: QEMU lacks a part of
		// what it drives. The restart goes with it; see [Boot].
		words:    []string{"initcall_blacklist=bcm2835_pm_driver_init"},
		sections: []string{"all", "pi0"},
		trees: []deviceTree{
			{"bcm2708-rpi-zero.dtb", "ttyAMA0", 0},
			{"bcm2835-rpi-zero.dtb", "ttyAMA0", 0},
		},
	},
	"raspi3b": {
		qemu:     "qemu-system-aarch64",
		args:     []string{"-M", "raspi3b"},
		disk:     "sd",
		kernel:   "kernel8.img",
		sections: []string{"all", "pi3"},
		trees: []deviceTree{
			{"bcm2710-rpi-3-b.dtb", "ttyAMA0", 0},
			{"bcm2837-rpi-3-b.dtb", "ttyS1", 1}, // its ttyAMA0 belongs to Bluetooth
		},
	},
	"amd64": {
		qemu:  "qemu-system-x86_64",
		args:  []string{"-M", "q35", "-cpu", "max", "-m", "512", "-nodefaults"},
		disk:  "virtio",
		words: []string{"no_timer_check"}, // on a busy host, ticks come too late for it
		trees: []deviceTree{{port: "ttyS0"}},
	},
	"arm64": {
		qemu:  "qemu-system-aarch64",
		args:  []string{"-M", "virt", "-cpu", "cortex-a53", "-m", "512", "-nodefaults"},
		disk:  "virtio",
		trees: []deviceTree{{port: "ttyAMA0"}}, // the machine brings its own
	},
}

// modelNames returns the names of the machines that can be emulated.
func modelNames() []string { return slices.Sorted(maps.Keys(models)) }

// Boards returns the names of the machines that are Raspberry Pis, which start the
// system on their card.
func Boards() []string {
	return slices.DeleteFunc(modelNames(), func(name string) bool { return models[name].kernel == "" })
}

func findModel(name string) (model, error) {
	m, ok := models[name]
	if !ok {
		return model{}, fmt.Errorf("machine %q: want one of %s", name, strings.Join(modelNames(), ", "))
	}
	return m, nil
}

// treeFor returns the model's device tree of a name, or its first.
func (m model) treeFor(file string) deviceTree {
	i := slices.IndexFunc(m.trees, func(t deviceTree) bool { return t.file == filepath.Base(file) })
	return m.trees[max(i, 0)]
}

// serials are the arguments that connect the console to a device tree's port.
func (t deviceTree) serials() []string {
	var args []string
	for range t.uart {
		args = append(args, "-serial", "null")
	}
	return append(args, "-serial", "chardev:console")
}

// commandLine makes the machine's port the console of a kernel that is started
// with line. The last console is the one that PID 1 writes to. The end of the
// line is left alone, since what stands behind init=PATH are its arguments.
func (m model) commandLine(t deviceTree, line string, extra []string) string {
	var words []string
	consoles := 0 // words up to and with the last console
	for _, word := range strings.Fields(line) {
		port, ok := strings.CutPrefix(word, "console=")
		port, _, _ = strings.Cut(port, ",")
		switch {
		case ok && (port == "serial0" || port == t.port): // the firmware's name for it
		case ok:
			words = append(words, word)
			consoles = len(words)
		default:
			words = append(words, word)
		}
	}
	ours := slices.Concat([]string{"console=" + t.port + ",115200"}, m.words, extra)
	return strings.Join(slices.Insert(words, consoles, ours...), " ")
}
