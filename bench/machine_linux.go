package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/linux/initramfs"
)

// A machine is a virtual one that runs bench/guest.
type machine struct {
	model   string // amd64 or arm64
	part    string // of the benchmark, as the guest calls it
	rounds  int
	modules []string
	files   map[string]string // further files and where they come from
	disks   []string          // what is written to them goes nowhere

	// countsInstructions makes the machine's clock count the instructions that it has
	// executed, 2 ns each, about as many as a Pi Zero takes, and the time that it
	// waits. Otherwise, most of its time is what QEMU takes to translate them.
	countsInstructions bool
}

// gadgetModules are what a USB device controller of the machine's own needs, and
// a gadget on it.
var gadgetModules = []string{"configfs", "libcomposite", "usb_f_rndis", "usb_f_ncm", "usb_f_ecm", "usb_f_acm", "dummy_hcd"}

// run boots the machine and returns the lines that the guest prints.
func (m machine) run(ctx context.Context) (_ []string, err error) {
	dir, err := os.MkdirTemp("", "clusterctrl-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	software, err := m.software(ctx, dir)
	if err != nil {
		return nil, err
	}
	var console bytes.Buffer
	config := lab.Config{Model: m.model, Dir: dir, Software: software, Transcript: &console}
	for _, disk := range m.disks {
		config.QEMU = append(config.QEMU, "-drive", "if=virtio,format=raw,snapshot=on,file="+disk)
	}
	if m.countsInstructions {
		config.QEMU = append(config.QEMU, "-icount", "shift=1")
	}
	virtual, err := lab.New(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, virtual.Close()) }()
	boot, err := virtual.Boot(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := boot.Wait(); err != nil {
		return nil, err
	}
	text := console.String()
	if strings.Contains(text, "guest: ") {
		return nil, fmt.Errorf("the machine says:\n%s", text)
	}
	return strings.Split(strings.ReplaceAll(text, "\r", ""), "\n"), nil
}

// software is Debian's kernel, as the tests have it, and the guest.
func (m machine) software(ctx context.Context, dir string) (*lab.Software, error) {
	fetch := exec.CommandContext(ctx, "internal/lab/labtest/kernel.sh", m.model)
	fetch.Stderr = os.Stderr
	out, err := fetch.Output()
	if err != nil {
		return nil, fmt.Errorf("kernel.sh: %w", err)
	}
	kernel := strings.TrimSpace(string(out))
	releases, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*"))
	if err != nil || len(releases) != 1 {
		return nil, fmt.Errorf("modules of kernels in %s: %q, %w; want one", kernel, releases, err)
	}
	init, err := build(ctx, "./bench/guest", dir, m.model)
	if err != nil {
		return nil, err
	}
	archive := initramfs.Archive{Modules: m.modules, Files: map[string][]byte{}}
	if archive.Init, err = os.ReadFile(init); err != nil {
		return nil, err
	}
	for name, from := range m.files {
		if archive.Files[name], err = os.ReadFile(from); err != nil {
			return nil, err
		}
	}
	initrd := filepath.Join(dir, "initramfs")
	f, err := os.Create(initrd)
	if err != nil {
		return nil, err
	}
	err = errors.Join(archive.Write(f, os.DirFS(releases[0])), f.Close())
	return &lab.Software{
		Kernel: filepath.Join(kernel, "vmlinuz"), Initramfs: initrd,
		CommandLine: fmt.Sprintf("quiet panic=-1 -- %s %d", m.part, m.rounds),
	}, err
}

// build builds a program for the machine, as it is built for a Pi.
func build(ctx context.Context, pkg, dir, arch string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, text)
	}
	return out, nil
}

// programs finds programs of this machine and the libraries that they need.
func programs(ctx context.Context, names ...string) (map[string]string, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("programs of %s: want an amd64 machine, since the virtual one runs its %s", runtime.GOARCH, strings.Join(names, ", "))
	}
	files := map[string]string{}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		files["bin/"+name] = path
		if err := addLibraries(ctx, files, path); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// addLibraries adds the libraries that programs need.
func addLibraries(ctx context.Context, files map[string]string, programs ...string) error {
	for _, path := range programs {
		libraries, err := exec.CommandContext(ctx, "ldd", path).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", path, err)
		}
		for _, library := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(libraries), -1) {
			files[strings.TrimPrefix(library, "/")] = library
		}
	}
	return nil
}
