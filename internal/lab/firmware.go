package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/tree/rootfs"
)

// Software is what a machine starts with: files of the host's, and the words
// for the kernel. Initramfs and DeviceTree may be empty.
type Software struct {
	Kernel, Initramfs, DeviceTree string
	CommandLine                   string
}

// bootFiles is what the firmware of a Pi finds in the boot partition.
type bootFiles struct {
	kernel, initramfs, deviceTree []byte
	commandLine                   string
	tree                          deviceTree
	overlays                      []string // names, which only a bare Pi asks its host for
}

// A fileReader reads a file of a boot partition, all of it. The error of a file that is
// not there matches [fs.ErrNotExist].
type fileReader func(name string) ([]byte, error)

// readCard does what the firmware does before it starts the kernel: it finds
// the boot partition of a card and, by config.txt, the files to start.
func (m model) readCard(card string) (found bootFiles, err error) {
	err = withBootPartition(card, func(boot fileReader) error {
		found, err = m.firmware(boot)
		return err
	})
	return found, err
}

// readLine reads the command line alone.
func (m model) readLine(card string) (line string, err error) {
	err = withBootPartition(card, func(boot fileReader) error {
		config, err := m.readConfig(boot)
		if err == nil {
			line, err = config.commandLine(boot, "")
		}
		return err
	})
	return line, err
}

// readKernel reads the kernel alone.
func (m model) readKernel(card string) (kernel []byte, err error) {
	err = withBootPartition(card, func(boot fileReader) error {
		config, err := m.readConfig(boot)
		if err != nil {
			return err
		}
		prefix, name := m.kernelName(boot, config)
		kernel, err = boot(prefix + name)
		return err
	})
	return kernel, err
}

func withBootPartition(card string, read func(fileReader) error) error {
	f, err := os.Open(card)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	table, err := mbr.Read(f, size)
	if err != nil {
		return err
	}
	boot := table.Partitions[0]
	partition := struct {
		io.ReaderAt
		io.WriterAt // of a file that is open for reading: nothing is written
	}{io.NewSectionReader(f, boot.Start, boot.Size), f}
	files, err := fat.Open(partition, boot.Size)
	if err == nil {
		err = read(files.ReadFile)
	}
	if err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	return nil
}

// firmware reads what config.txt in the boot partition asks to be started.
// It ignores overlays and settings about the board's devices: QEMU's board has a fixed
// set of devices.
func (m model) firmware(boot fileReader) (found bootFiles, err error) {
	config, err := m.readConfig(boot)
	if err != nil {
		return bootFiles{}, err
	}
	prefix, kernel := m.kernelName(boot, config)
	if found.commandLine, err = config.commandLine(boot, prefix); err != nil {
		return bootFiles{}, err
	}
	if found.kernel, err = boot(prefix + kernel); err != nil {
		return bootFiles{}, err
	}
	if found.initramfs, err = config.initramfs(boot, prefix, kernel); err != nil {
		return bootFiles{}, err
	}
	found.tree, found.deviceTree, err = m.readTree(boot, prefix, config.get("device_tree", ""))
	found.overlays = strings.Fields(config["dtoverlay"])
	return found, err
}

// kernelName finds which kernel config.txt asks for, and the prefix of its name and of
// the names of the files that go with it.
func (m model) kernelName(boot fileReader, c config) (prefix, kernel string) {
	prefix, kernel = c.get("os_prefix", ""), c.get("kernel", m.kernel)
	if prefix == "" {
		return "", kernel
	}
	if _, err := boot(prefix + kernel); err != nil {
		prefix = "" // the firmware ignores a prefix without a kernel
	}
	return prefix, kernel
}

// readTree reads the device tree that config.txt names, or else the first of the
// machine's device trees that exists.
func (m model) readTree(boot fileReader, prefix, named string) (deviceTree, []byte, error) {
	var names []string
	for _, t := range m.trees {
		names = append(names, t.file)
	}
	if named != "" {
		names = []string{named}
	}
	for _, name := range names {
		data, err := boot(prefix + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return m.treeFor(name), data, err
	}
	return deviceTree{}, nil, fmt.Errorf("no device tree, want %s", strings.Join(names, " or "))
}

// A config is what config.txt says to one machine. The last word on a key counts, but
// each dtoverlay adds a name.
type config map[string]string

func (c config) get(key, otherwise string) string {
	if value, ok := c[key]; ok {
		return value
	}
	return otherwise
}

// readConfig reads config.txt, which need not be there.
func (m model) readConfig(boot fileReader) (config, error) {
	text, err := boot("config.txt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return m.parseConfig(string(text)), nil
}

func (c config) commandLine(boot fileReader, prefix string) (string, error) {
	text, err := boot(prefix + c.get("cmdline", rootfs.CommandLine))
	line, _, _ := strings.Cut(string(text), "\n")
	return line, err
}

// parseConfig reads config.txt. A section's head stands for all sections that
// are not for this machine, whatever they ask for.
func (m model) parseConfig(text string) config {
	c, applies := config{}, true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if section, ok := strings.CutPrefix(line, "["); ok {
			applies = slices.Contains(m.sections, strings.ToLower(strings.TrimSuffix(section, "]")))
			continue
		}
		if !applies || line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if files, isInitramfs := strings.CutPrefix(line, "initramfs "); isInitramfs {
			key, value, ok = "initramfs", files, true
		}
		key = strings.TrimSpace(key)
		if key == "dtoverlay" {
			name, _, _ := strings.Cut(value, ",") // behind it: its parameters
			value = c[key] + " " + name
		}
		if ok {
			c[key] = strings.TrimSpace(value)
		}
	}
	return c
}

// initramfs reads the initramfs that config.txt asks for: the files that it names, or
// the one whose name goes with the kernel's.
func (c config) initramfs(boot fileReader, prefix, kernel string) ([]byte, error) {
	if line, ok := c["initramfs"]; ok {
		names, _, _ := strings.Cut(line, " ") // behind it: where in memory
		var all []byte
		for name := range strings.SplitSeq(names, ",") {
			data, err := boot(prefix + name)
			if err != nil {
				return nil, err
			}
			all = append(all, data...)
		}
		return all, nil
	}
	if c["auto_initramfs"] != "1" {
		return nil, nil
	}
	name := strings.TrimSuffix(strings.Replace(kernel, "kernel", "initramfs", 1), ".img")
	data, err := boot(prefix + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// write puts the files into dir, where QEMU reads them.
func (b bootFiles) write(dir string) (Software, error) {
	s := Software{CommandLine: b.commandLine}
	for _, file := range []struct {
		name string
		data []byte
		path *string
	}{
		{"kernel", b.kernel, &s.Kernel},
		{"initramfs", b.initramfs, &s.Initramfs},
		{"devicetree", b.deviceTree, &s.DeviceTree},
	} {
		if file.data == nil {
			continue
		}
		*file.path = filepath.Join(dir, file.name)
		if err := os.WriteFile(*file.path, file.data, 0o600); err != nil {
			return Software{}, err
		}
	}
	return s, nil
}
