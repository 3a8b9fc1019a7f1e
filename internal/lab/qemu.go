package lab

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
)

// findQEMU finds a program of QEMU's, or says how to get it.
func findQEMU(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w; to install it: %s", err, install(runtime.GOOS, program))
	}
	return path, nil
}

func install(system, program string) string {
	switch {
	case system == "darwin":
		return "brew install qemu"
	case system == "windows":
		return "winget install SoftwareFreedomConservancy.QEMU, and add its directory to PATH"
	case strings.HasSuffix(program, "x86_64"):
		return "apt-get install qemu-system-x86"
	}
	return "apt-get install qemu-system-arm"
}

// startTied starts a program that does not outlive this one, where the system can
// ensure that, and returns a channel for the result of Wait.
func startTied(program *exec.Cmd) (exit <-chan error, err error) {
	program.SysProcAttr = tied()
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// Linux ties a program to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := program.Start()
		started <- err
		if err == nil {
			ended <- program.Wait()
		}
	}()
	return ended, <-started
}
