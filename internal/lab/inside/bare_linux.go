package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/linux/uevent"
	"golang.org/x/sys/unix"
)

// startBare starts the machine's end of the cable, which has the lab's directory as
// its root and mounts of its own, and then is /init of the initramfs that the node was
// given. args are the arguments of that.
func startBare(args []string) error {
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	end := &exec.Cmd{
		Path: "/init", Args: []string{BareName}, Dir: "/",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{tell},
		SysProcAttr: &syscall.SysProcAttr{Chroot: "/" + BareDir, Cloneflags: unix.CLONE_NEWNS, Setsid: true},
	}
	if err := end.Start(); err != nil {
		return err
	}
	tell.Close()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return fmt.Errorf("the cable's end did not start: %w", err)
	}
	runtime.LockOSThread()
	if err := forbidFreezing(); err != nil {
		return err
	}
	return fmt.Errorf("start /init: %w", unix.Exec("/init", append([]string{"/init"}, args...), os.Environ()))
}

// ServeBare connects the cable of a bare node's machine with the kernel. It tells the
// program that started it when the kernel has a USB device controller.
func ServeBare() error {
	if err := initramfs.Enter(); err != nil {
		return err
	}
	var device string
	err := uevent.Wait(context.Background(), func() (found bool, err error) {
		device, err = portNamed(NodeStream)
		return device != "", err
	}, "virtio-ports")
	if err != nil {
		return err
	}
	tell := os.NewFile(3, "ready")
	if _, err := tell.Write([]byte{1}); err != nil {
		return err
	}
	tell.Close()
	return serve(device, cable.AttachNode)
}

// portNamed finds the device of a stream, empty if it is not there yet.
func portNamed(stream string) (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if strings.TrimSpace(string(text)) == stream {
			return "/dev/" + filepath.Base(filepath.Dir(name)), nil
		}
	}
	return "", nil
}
