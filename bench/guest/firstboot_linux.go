package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/node"
)

const (
	root     = "/mnt"
	programs = "/programs"
	role     = "p1"
	boot     = "boot/firmware"
	// The kernel's accounting has a record of each process that ended. It does
	// without on a file system that has no size.
	accounts = "/tmp/accounts"
)

// branders are the ways to make a card that of a node. What they run is on it.
var branders = []struct {
	name string
	args []string
}{
	{"ours", []string{node.ReconfigPath, role}},
	{"theirs", []string{"/bin/sh", "/usr/sbin/reconfig.sh", role}},
}

// firstBoots measures first boots on the machine's disks, all copies of one card,
// from the start of what the kernel would start as PID 1 until it asks for a
// restart or ends. Each runs as PID 1 of a namespace of its own whose root is the
// card's, mounted read-only as the kernel does. Afterwards the card must be what
// clusterctrl verify wants.
func firstBoots(rounds int) error {
	disks, err := filepath.Glob("/sys/class/block/vd?")
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll("/tmp", 0o755), unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""), traceEnds()); err != nil {
		return err
	}
	if len(disks) != 1+(rounds+1)*len(branders) {
		return fmt.Errorf("disks %q: want one for each of %d rounds and %d ways, for a round that warms up, and for the programs", disks, rounds, len(branders))
	}
	if err := errors.Join(os.Mkdir(programs, 0o755), unix.Mount("/dev/"+filepath.Base(disks[0])+"2", programs, "ext4", unix.MS_RDONLY, "")); err != nil {
		return fmt.Errorf("mount the programs: %w", err)
	}
	for i, disk := range disks[1:] {
		round := i / len(branders)
		b := branders[(round+i)%len(branders)]
		took, processes, err := firstBoot(filepath.Base(disk), b.args)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", b.name, disk, err)
		}
		if round > 0 {
			fmt.Println(b.name, took.Nanoseconds())
			fmt.Println(b.name+"-processes", processes)
		}
	}
	return nil
}

// firstBoot runs a first boot on a disk.
func firstBoot(disk string, args []string) (took time.Duration, processes int, err error) {
	if err := mountCard(disk, unix.MS_RDONLY); err != nil {
		return 0, 0, err
	}
	if err := sharePrograms(); err != nil {
		return 0, 0, err
	}
	took, processes, err = asPID1(args)
	return took, processes, errors.Join(err, unshare(), unmountCard(), verify(disk))
}

// mountCard mounts the root of a disk, with a /dev in which there is no other.
func mountCard(disk string, flags uintptr) error {
	if err := unix.Mount("/dev/"+disk+"2", root, "ext4", flags, ""); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	dev := filepath.Join(root, "dev")
	if err := unix.Mount("tmpfs", dev, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dev, err)
	}
	for _, name := range []string{"null", "console", disk, disk + "1", disk + "2"} {
		var stat unix.Stat_t
		if err := unix.Stat("/dev/"+name, &stat); err != nil {
			return &os.PathError{Op: "stat", Path: "/dev/" + name, Err: err}
		}
		if err := unix.Mknod(filepath.Join(dev, name), stat.Mode, int(stat.Rdev)); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}

// programDirs are where the cards have programs, the same in all.
var programDirs = []string{"usr/sbin", "usr/bin", "usr/lib/aarch64-linux-gnu"}

// sharePrograms gives all cards the programs of the first disk, so that each run finds
// them in memory, and translated: an emulated machine spends most of its time on code
// that it runs for the first time, and a real one does not.
func sharePrograms() error {
	for _, dir := range programDirs {
		if err := unix.Mount(filepath.Join(programs, dir), filepath.Join(root, dir), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

func unshare() error {
	var errs []error
	for _, dir := range programDirs {
		errs = append(errs, unix.Unmount(filepath.Join(root, dir), 0))
	}
	return errors.Join(errs...)
}

func unmountCard() error {
	return errors.Join(unix.Unmount(filepath.Join(root, "dev"), 0), unix.Unmount(root, 0))
}

// tracing is where the kernel takes what to trace.
const tracing = "/sys/kernel/tracing/"

// traceEnds has the kernel note when a program asks for a restart and when it ends. In
// a namespace a restart ends PID 1, and that takes time that no Pi waits for.
func traceEnds() error {
	if err := unix.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", tracing, err)
	}
	const probes = "p:restart __arm64_sys_reboot\np:exit __arm64_sys_exit_group\n"
	return errors.Join(os.WriteFile(tracing+"kprobe_events", []byte(probes), 0), os.WriteFile(tracing+"events/kprobes/enable", []byte("1"), 0),
		os.WriteFile(tracing+"trace_clock", []byte("mono"), 0))
}

// lastEnd returns when the last program asked for a restart or ended, by the clock
// that has no date.
func lastEnd() (time.Duration, error) {
	text, err := os.ReadFile(tracing + "trace")
	if err != nil {
		return 0, err
	}
	times := regexp.MustCompile(` (\d+\.\d+): (?:restart|exit): `).FindAllStringSubmatch(string(text), -1)
	if len(times) == 0 {
		return 0, fmt.Errorf("no program has ended: the trace is %q", text)
	}
	return time.ParseDuration(times[len(times)-1][1] + "s")
}

func now() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano()), err
}

// asPID1 runs a program and returns how long it took until it asked for a restart or
// ended. It counts the processes that the program started.
func asPID1(args []string) (took time.Duration, processes int, err error) {
	if err := os.WriteFile(accounts, nil, 0o600); err != nil {
		return 0, 0, err
	}
	if err := unix.Acct(accounts); err != nil {
		return 0, 0, fmt.Errorf("acct: %w", err)
	}
	// No reader is woken up for the output.
	output, err := os.Create("/tmp/output")
	if err != nil {
		return 0, 0, err
	}
	defer output.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	begin, err := now()
	if err != nil {
		return 0, 0, err
	}
	err = cmd.Run()
	end, endErr := lastEnd()
	if endErr != nil {
		return 0, 0, endErr
	}
	if _, _, errno := unix.Syscall(unix.SYS_ACCT, 0, 0, 0); errno != 0 {
		return 0, 0, fmt.Errorf("acct: %w", errno)
	}
	// In a namespace, a restart is the end of PID 1 by SIGHUP.
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGHUP {
		err = nil
	}
	if err != nil {
		text, _ := os.ReadFile(output.Name())
		return 0, 0, fmt.Errorf("%w\n%s", err, text)
	}
	processes, err = countChildren(cmd.Process.Pid)
	return end - begin, processes, err
}

// countChildren counts the accounts of the processes that one started, and those
// that these did. The kernel's own threads have accounts too.
func countChildren(pid int) (n int, err error) {
	data, err := os.ReadFile(accounts)
	if err != nil {
		return 0, err
	}
	const size, child, parent = 64, 16, 20 // of a record and where it has numbers: acct(5), version 3
	parents := map[uint32]uint32{}
	for record := range slices.Chunk(data, size) {
		parents[binary.NativeEndian.Uint32(record[child:])] = binary.NativeEndian.Uint32(record[parent:])
	}
	for p := range parents {
		for p != 0 && p != uint32(pid) {
			if p = parents[p]; p == uint32(pid) {
				n++
			}
		}
	}
	return n, nil
}

// verify has clusterctrl say whether the card is what it is to be.
func verify(disk string) error {
	if err := mountCard(disk, 0); err != nil {
		return err
	}
	dir := filepath.Join(root, boot)
	if err := unix.Mount("/dev/"+disk+"1", dir, "vfat", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount the boot partition: %w", err)
	}
	out, err := exec.Command(root+node.Program, "verify", role, "--root", root).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("verify: %w\n%s", err, out)
	}
	line, readErr := os.ReadFile(filepath.Join(dir, "cmdline.txt"))
	if err == nil && readErr == nil && !strings.HasSuffix(strings.TrimSpace(string(line)), " init=/usr/lib/raspberrypi-sys-mods/firstboot") {
		err = fmt.Errorf("cmdline.txt is %q: want the vendor's first boot in it", line)
	}
	return errors.Join(err, readErr, unix.Unmount(dir, 0), unmountCard())
}
