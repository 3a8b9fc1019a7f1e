package usbroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/node"
	"clusterctrl/internal/pi/gadget"
	"golang.org/x/sys/unix"
)

// newRoot is where the system is mounted before it becomes the root.
const newRoot = "/mnt"

// Main is /init, args its arguments. It returns only if something went wrong, and
// then the machine is about to restart: the node asks for its boot files anew.
//
// It is also the keeper of a root on a disk, which /init starts under the name
// [keeperName], and which ends only if it cannot connect to the disk at the start.
func Main(args []string) error {
	if len(args) > 0 && args[0] == keeperName {
		return keep()
	}
	err := run(args)
	say("%v; restarting", err)
	unix.Sync()
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART))
}

func run(args []string) error {
	if err := initramfs.Start(); err != nil {
		return err
	}
	p, err := kernelPlan()
	if err != nil {
		return err
	}
	if err := startGadget(p); err != nil {
		return err
	}
	say("%v over %s, root on %v", p.ID, p.Gadget, p.Server)
	if err := startNetwork(p); err != nil {
		return err
	}
	if err := awaitCarrier(node.NFSLink); err != nil {
		return err
	}
	if err := mountRoot(p); err != nil {
		return err
	}
	return initramfs.SwitchRoot(newRoot, p.Init, args[1:])
}

// kernelPlan is what the command line of the running kernel asks for.
func kernelPlan() (Plan, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return Plan{}, err
	}
	return ParseCommandLine(string(line))
}

func mountRoot(p Plan) error {
	if p.Root != "" {
		return mountNFS(p)
	}
	return mountDisk(p)
}

// say writes a line to the kernel's console and to the serial port of the gadget,
// if there is one and somebody listens.
func say(format string, values ...any) {
	line := fmt.Sprintf("clusterctrl: "+format+"\r\n", values...)
	for _, name := range []string{"/dev/console", "/dev/ttyGS0"} {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_, _ = unix.Write(fd, []byte(line)) // a console that takes nothing is no obstacle
		unix.Close(fd)
	}
}

// startGadget makes the node a USB device. The kernel knows a device controller as
// soon as its driver is there, which the initramfs has loaded.
func startGadget(p Plan) error {
	if err := os.MkdirAll(filepath.Dir(node.SettingsFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(node.SettingsFile, []byte(p.settings()), 0o644); err != nil {
		return err
	}
	report, err := gadget.Start(context.Background(), gadget.Options{Wait: time.Minute})
	if err != nil {
		return err
	}
	say("%v", report)
	return nil
}
