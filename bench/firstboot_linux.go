package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"clusterctrl/internal/tree/rootfs"
)

// measureFirstBoot compares a node's first boot with a script that does the same,
// in one virtual machine.
func (b bench) measureFirstBoot(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "clusterctrl-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	card, err := b.makeCard(ctx, dir)
	if err != nil {
		return err
	}
	const ours, theirs = "reconfig-clusterctrl", "reconfig.sh, by dash, coreutils and sed"
	m := machine{model: "arm64", part: "firstboot", rounds: b.rounds, countsInstructions: true,
		modules: []string{"virtio_pci", "virtio_blk", "ext4", "vfat", "nls_cp437", "nls_ascii"}}
	for range 1 + 2*(b.rounds+1) {
		m.disks = append(m.disks, card)
	}
	lines, err := m.run(ctx)
	if err != nil {
		return err
	}
	costs, err := times(lines, map[string]string{"ours": ours, "theirs": theirs})
	if err != nil {
		return err
	}
	return contest{"a node's first boot, from start to restart, in a virtual machine", []entry{{name: ours}, {name: theirs}},
		[]goal{faster(ours, theirs, 5), startsNone(ours, lines)}}.printTimes(costs)
}

// makeCard makes a node's image, with the script on it.
func (b bench) makeCard(ctx context.Context, dir string) (string, error) {
	base, err := output(ctx, "test/base/cached.sh", "bookworm.img")
	if err != nil {
		return "", err
	}
	if _, err := output(ctx, b.program, "build", base, "--nodes", "1", "--no-nat", "--quiet", "-o", dir); err != nil {
		return "", err
	}
	images, err := filepath.Glob(filepath.Join(dir, "*-p1.img"))
	if err != nil || len(images) != 1 {
		return "", fmt.Errorf("images of p1: %q, %v: want one", images, err)
	}
	script, err := os.ReadFile("bench/reconfig.sh")
	if err != nil {
		return "", err
	}
	return images[0], addFile(images[0], "usr/sbin/reconfig.sh", script)
}

// output runs a program and returns the line that it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), err
}

// addFile adds a file to an image.
func addFile(image, name string, data []byte) (err error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	tree, err := rootfs.OpenImage(f, size)
	if err != nil {
		return err
	}
	return errors.Join(tree.WriteFile(name, data, 0o755), tree.Close())
}

// startsNone is the goal of ours to start no process. The guest's lines have how
// many there were.
func startsNone(ours string, lines []string) goal {
	return func(map[string]cost) string {
		n := most(lines, "ours-processes")
		return fmt.Sprintf("%s: %s starts %d processes, the script %d; goal 0", verdict(n == 0), ours, n, most(lines, "theirs-processes"))
	}
}

// most returns the largest number that is on lines behind name.
func most(lines []string, name string) int {
	largest := 0
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, name+" %d", &n); err == nil {
			largest = max(largest, n)
		}
	}
	return largest
}
