package firstboot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/tree/rootfs"
	"golang.org/x/sys/unix"
)

// linux is the running kernel.
type linux struct{}

// deviceTimeout is how long a slow card may take to appear. The root is there
// already, and most often is on the same card.
const deviceTimeout = 15 * time.Second

func (linux) mount(dir, fstype string) (bool, error) {
	var at, root unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return false, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if err := unix.Stat("/", &root); err != nil {
		return false, &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	if at.Dev != root.Dev {
		return false, nil // the kernel or an initramfs mounted it
	}
	if err := unix.Mount(fstype, dir, fstype, 0, ""); err != nil && err != unix.EBUSY {
		return false, &os.PathError{Op: "mount", Path: dir, Err: err}
	} else {
		return err == nil, nil
	}
}

// calm lets the kernel wake Go's monitor thread late. That thread wants to be woken every
// 20 µs, which takes a tenth of the time of a Pi with one core. See
// proc_pid_timerslack_ns(5); a kernel that lacks it is no error.
func (linux) calm() {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte("10000000"), 0)
	}
}

func (linux) unmount(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}

func (linux) writable() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs("/", &stat); err != nil {
		return false, &os.PathError{Op: "statfs", Path: "/", Err: err}
	}
	if stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return false, errors.New("/ is an overlay, which forgets what is changed: want it turned off, as raspi-config does")
	}
	return stat.Flags&unix.ST_RDONLY == 0, nil
}

// setWritable leaves the options other than "ro" as they are on ext4; the mount's
// own flags are those that the kernel mounts a root with.
func (linux) setWritable(writable bool) error {
	flags := uintptr(unix.MS_REMOUNT)
	if !writable {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", "/", "", flags, ""); err != nil {
		return &os.PathError{Op: "remount", Path: "/", Err: err}
	}
	return nil
}

func (linux) openRoot() (root, error) { return rootfs.OpenDir("/") }

func (linux) openDevice(source string) (fat.SyncDevice, int64, error) {
	path, err := await(deviceTimeout, func() (string, error) { return devices().find(source) })
	if err != nil {
		return nil, 0, err
	}
	f, err := openBlockDevice(path)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func (linux) besideRoot() []string { return devices().beside() }

func devices() blockDevices {
	b := blockDevices{sys: "/sys", dev: "/dev"}
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err == nil {
		b.root = fmt.Sprintf("%d:%d", unix.Major(root.Dev), unix.Minor(root.Dev))
	}
	return b
}

// sync flushes the root. Unlike sync(2) it says what went wrong.
func (linux) sync() error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: "/", Err: err}
	}
	return nil
}

// restart flushes what other programs wrote before: the new id that the vendor's
// initramfs gave the disk is in memory alone, while cmdline.txt on the card has it.
func (linux) restart() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func (linux) exec(program string, args []string) error {
	return unix.Exec(program, args, os.Environ())
}

func (linux) say(text string) { fmt.Fprintf(os.Stderr, "clusterctrl: %s\n", text) }

func (l linux) warn(text string) {
	l.say(text)
	if kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		fmt.Fprintf(kmsg, "<3>clusterctrl: %s\n", text)
		kmsg.Close()
	}
}
