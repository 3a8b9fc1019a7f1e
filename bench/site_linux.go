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

	"golang.org/x/sys/unix"
)

// onDisk is the file system of the disk itself, not one in a file.
const onDisk = "disk"

// A site is a directory on a file system to measure on.
type site struct {
	bench
	fsType string
	title  string
	dir    string   // of the site
	out    string   // emptied before each run, and where scripts run
	env    []string // of scripts
}

// openSite makes the site, and the file system if need be.
func (b bench) openSite(ctx context.Context, fsType string) (*site, error) {
	s := &site{bench: b, fsType: fsType, dir: filepath.Join(b.dir, "on-"+fsType)}
	s.out = filepath.Join(s.dir, "out")
	if err := s.close(); err != nil { // what a killed run left behind
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) open(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if s.fsType != onDisk {
		if err := s.mount(ctx); err != nil {
			return err
		}
	}
	fsType, err := exec.CommandContext(ctx, "findmnt", "-n", "-o", "FSTYPE", "-T", s.dir).Output()
	if err != nil {
		return fmt.Errorf("findmnt: %w", err)
	}
	s.title = strings.TrimSpace(string(fsType))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.env = append(os.Environ(), "LC_ALL=C", "MTOOLS_SKIP_CHECK=1",
		"BASE="+s.base.name, fmt.Sprintf("BOOT=%d", s.base.boot),
		"CLUSTERCTRL="+s.program, "BENCH="+self)
	return nil
}

// mount makes a file system in a file and mounts it.
func (s *site) mount(ctx context.Context) error {
	const script = `truncate -s 25G "$0.img" && mkfs.$1 -q "$0.img" && mount -o loop "$0.img" "$0"`
	out, err := exec.CommandContext(ctx, "sh", "-c", script, s.dir, s.fsType).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount %s: %w: %s", s.dir, err, out)
	}
	return nil
}

// close removes the site. It is no error if there is none.
func (s *site) close() error {
	for err := error(nil); err == nil; { // until nothing is mounted there
		err = unix.Unmount(s.dir, 0)
		if err == unix.EBUSY || err == unix.EPERM {
			return fmt.Errorf("unmount %s: %w", s.dir, err)
		}
	}
	return errors.Join(os.RemoveAll(s.dir), os.RemoveAll(s.dir+".img"))
}

// clear empties the output directory, waits until the disk has nothing to do
// any more, and has the base in memory.
func (s *site) clear() error {
	if err := errors.Join(os.RemoveAll(s.out), os.Mkdir(s.out, 0o755), s.sync()); err != nil {
		return err
	}
	f, err := os.Open(s.base.name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// sync flushes the file system.
func (s *site) sync() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}

// largest is the size of the largest output, in bytes.
func (s *site) largest() (int64, error) {
	entries, err := os.ReadDir(s.out)
	if err != nil {
		return 0, err
	}
	var largest int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		largest = max(largest, info.Size())
	}
	return largest, nil
}

// used is how much of the file system is in use, in bytes.
func (s *site) used() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize, nil
}
