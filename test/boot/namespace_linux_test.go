package boot_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// memory returns a directory whose files are in memory.
func memory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount a tmpfs (the test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// unshareMounts gives the calling goroutine mounts of its own for the rest of its life:
// other programs that start meanwhile would keep them busy.
func unshareMounts() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mounts (the test needs root): %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// startAsPID1 starts the program of a card, with role, as PID 1 of a namespace in
// which the card's root is / and its boot partition /dev/vda1. That takes a tenth
// of the time that an emulated machine needs. The mount is the kernel's own, and
// repairs what a journal repairs. Anything but a restart is an error.
func startAsPID1(card, role string) error {
	return mounted(card, func(root string, boot *os.File) error {
		dev := filepath.Join(root, "dev")
		if err := unix.Mount("tmpfs", dev, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dev, err)
		}
		defer unix.Unmount(dev, unix.MNT_DETACH)
		var stat unix.Stat_t
		if err := unix.Fstat(int(boot.Fd()), &stat); err != nil {
			return err
		}
		if err := unix.Mknod(filepath.Join(dev, "vda1"), unix.S_IFBLK|0o600, int(stat.Rdev)); err != nil {
			return fmt.Errorf("make /dev/vda1: %w", err)
		}
		cmd := exec.Command("/usr/sbin/reconfig-clusterctrl", role)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		output, err := cmd.CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGHUP {
			return fmt.Errorf("PID 1 ended by %v, want SIGHUP, a restart:\n%s", err, output)
		}
		return nil
	})
}

// mounted mounts a card's root, read-only as the kernel does at the start, and
// calls do with where it is and with the boot partition's device.
func mounted(card string, do func(root string, boot *os.File) error) error {
	boot, err := attach(card, sampleBoot, sampleRoot-sampleBoot)
	if err != nil {
		return err
	}
	defer boot.Close()
	device, err := attach(card, sampleRoot, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	root, err := os.MkdirTemp("", "clusterctrl-root-")
	if err != nil {
		return err
	}
	defer os.Remove(root)
	if err := unix.Mount(device.Name(), root, "ext4", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	return errors.Join(unix.Mount("", root, "", unix.MS_PRIVATE, ""), do(root, boot), unmount(root))
}

func unmount(dir string) error {
	if err := unix.Unmount(dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// attach makes a block device of a part of a file, until it is closed.
func attach(file string, offset, size uint64) (*os.File, error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("free loop device: %w", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Offset, config.Info.Sizelimit, config.Info.Flags = offset, size, unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(device.Fd()), &config); err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return nil, fmt.Errorf("%s: %w", device.Name(), err)
		}
	}
}

// A state is what a card's files hold, by name.
type state map[string]string

// stateOf reads all files of a card, of the root as the kernel shows them and of
// the boot partition as mtools does.
func stateOf(card string) (state, error) {
	files := state{}
	err := mounted(card, func(root string, _ *os.File) error {
		// A child that another goroutine forks has all open files of this process
		// until it executes its program. That would keep the mount busy.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		return files.read("/", root)
	})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "clusterctrl-boot-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := output("mcopy", "-s", "-i", card+"@@4M", "::", dir); err != nil {
		return nil, err
	}
	return files, files.read("boot:", dir)
}

func (s state) read(prefix, dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		text, err := describe(name)
		s[prefix+strings.TrimPrefix(name, dir)] = text
		return err
	})
}

// describe says all of a file but its times, and of a directory its size.
func describe(name string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(name, &stat); err != nil {
		return "", &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	head := fmt.Sprintf("%o %d:%d", stat.Mode, stat.Uid, stat.Gid)
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		return head + " " + target, err
	case unix.S_IFREG:
		data, err := os.ReadFile(name)
		if len(data) > 1<<12 {
			return fmt.Sprintf("%s %d bytes %x", head, len(data), sha256.Sum256(data)), err
		}
		return fmt.Sprintf("%s %q", head, data), err
	}
	return head, nil
}

// differences are the files that two cards do not have in common.
func (s state) differences(want state) string {
	var b strings.Builder
	for name, text := range want {
		if got := s[name]; got != text {
			fmt.Fprintf(&b, "%s is %s, want %s\n", name, got, text)
		}
	}
	for name, text := range s {
		if _, ok := want[name]; !ok {
			fmt.Fprintf(&b, "%s is %s, want none\n", name, text)
		}
	}
	return b.String()
}
