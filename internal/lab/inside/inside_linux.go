package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/linux/usbip"
	"golang.org/x/sys/unix"
)

const (
	disk    = "/dev/vda"
	newRoot = "/mnt"
	ourDir  = "/run/" + Name
	unitDir = "/run/systemd/system"
)

const unit = `[Unit]
Description=Virtual USB cables of the lab
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target clusterctrl-init.service

[Service]
Type=notify
ExecStart=` + ourDir + "/" + Name + "\n"

// Main is /init of a virtual machine, args its arguments. It returns only if
// something went wrong.
func Main(args []string) error {
	if args[0] == BareInit {
		return startBare(args[1:])
	}
	if err := initramfs.Start(); err != nil {
		return err
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	line := parse(string(text))
	if err := mountRoot(line); err != nil {
		return err
	}
	if err := addUnit(newRoot); err != nil {
		return err
	}
	return initramfs.SwitchRoot(newRoot, line.init, args[1:])
}

// A commandLine is the part of the kernel's command line about the root and about the
// first program.
type commandLine struct {
	root, init string
	writable   bool
}

func parse(text string) commandLine {
	line := commandLine{init: "/sbin/init"}
	for word := range strings.FieldsSeq(text) {
		if value, ok := strings.CutPrefix(word, "root="); ok {
			line.root = value
		}
		if value, ok := strings.CutPrefix(word, "init="); ok {
			line.init = value
		}
		if word == "rw" || word == "ro" {
			line.writable = word == "rw"
		}
	}
	return line
}

// mountRoot mounts the partition that the command line names, of the machine's
// only disk.
func mountRoot(line commandLine) error {
	part, err := partition(line.root)
	if err != nil {
		return err
	}
	device := disk + strconv.Itoa(part)
	err = uevent.Wait(context.Background(), func() (bool, error) {
		_, err := os.Stat(device)
		return err == nil, nil
	}, "block")
	if err != nil {
		return err
	}
	if err := checkDisk(line.root, part); err != nil {
		return err
	}
	var flags uintptr = unix.MS_RDONLY
	if line.writable {
		flags = 0
	}
	if err := unix.Mount(device, newRoot, "ext4", flags, ""); err != nil {
		return fmt.Errorf("mount %s, which root=%s is: %w", device, line.root, err)
	}
	return nil
}

// partition is the number of the partition that root= names by its disk's id
// (PARTUUID=b00cb00c-02) or by a device of the Pi (/dev/mmcblk0p2).
func partition(root string) (int, error) {
	text, base := "", 10
	if id, ok := strings.CutPrefix(root, "PARTUUID="); ok {
		_, text, _ = strings.Cut(id, "-")
		base = 16 // Linux counts so there
	} else if name, ok := strings.CutPrefix(root, "/dev/mmcblk0p"); ok {
		text = name
	}
	n, err := strconv.ParseUint(text, base, 8)
	if err != nil || n < 1 || n > 4 {
		return 0, fmt.Errorf("root=%s: want PARTUUID= with a partition's number, or /dev/mmcblk0p2", root)
	}
	return int(n), nil
}

// checkDisk refuses a root on another disk than there is.
func checkDisk(root string, part int) error {
	id, ok := strings.CutPrefix(root, "PARTUUID=")
	if !ok {
		return nil
	}
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	table, err := mbr.Read(f, 1<<62) // what is behind the disk's end is not for us to find
	if err != nil {
		return err
	}
	if got := table.PARTUUID(part); !strings.EqualFold(got, id) {
		return fmt.Errorf("root=%s: the card's partition %d is PARTUUID=%s", root, part, got)
	}
	return nil
}

// addUnit has the system's /run hold this program and the unit that runs it.
func addUnit(root string) error {
	run := filepath.Join(root, "run")
	if err := unix.Mount("tmpfs", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{ourDir + "/" + Name, program, 0o755},
		{unitDir + "/" + Name + ".service", []byte(unit), 0o644},
	} {
		name := filepath.Join(root, file.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, file.data, file.mode); err != nil {
			return err
		}
	}
	wants := filepath.Join(root, unitDir, "sysinit.target.wants")
	return errors.Join(os.Mkdir(wants, 0o755), os.Symlink("../"+Name+".service", filepath.Join(wants, Name+".service")))
}

// Serve connects all of the machine's cables with the kernel. It returns when the
// machine has none any more.
func Serve() error {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return err
	}
	var ends sync.WaitGroup
	errs := make(chan error, len(names)+1)
	hat := false
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		stream := strings.TrimSpace(string(text))
		attach, err := attacher(stream)
		if err != nil {
			return err
		}
		hat = hat || strings.HasPrefix(stream, HATStream)
		device := "/dev/" + filepath.Base(filepath.Dir(name))
		ends.Go(func() { errs <- serve(device, attach) })
	}
	if hat {
		errs <- awaitHAT()
	}
	if err := notifyReady(); err != nil {
		return err
	}
	ends.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// hatBus is the I2C bus that the HAT is on.
const hatBus = "/dev/i2c-1"

func awaitHAT() error {
	return uevent.Wait(context.Background(), func() (bool, error) {
		_, err := os.Stat(hatBus)
		return err == nil, nil
	}, "i2c-dev")
}

// notifyReady tells systemd, if it has started us, that the unit is up (sd_notify(3)).
func notifyReady() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "READY=1")
	return errors.Join(err, conn.Close())
}

func attacher(stream string) (func(context.Context, *os.File) error, error) {
	if stream == NodeStream {
		return cable.AttachNode, nil
	}
	number := strings.TrimPrefix(strings.TrimPrefix(stream, ControllerStream), HATStream)
	port, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("stream %q: want %s, %sN or %sN", stream, NodeStream, ControllerStream, HATStream)
	}
	return cable.AttachController(usbip.Port(port)), nil
}

// serve runs an end. It opens the device for blocking reads: Go's poller would take a
// hang-up of the device for an error.
func serve(device string, attach func(context.Context, *os.File) error) error {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: device, Err: err}
	}
	stream := os.NewFile(uintptr(fd), device)
	defer stream.Close()
	end := &cable.End{Stream: stream, Attach: attach, Log: os.Stderr}
	if err := end.Run(); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return nil
}
