package lab_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoQEMUOutlivesUs kills a program that has a machine on: this test, run once more.
// QEMU ends with it.
func TestNoQEMUOutlivesUs(t *testing.T) {
	const inner = "CLUSTERCTRL_TEST_QEMU_PIDFILE"
	if pidFile := os.Getenv(inner); pidFile != "" {
		boot(t, t.Context(), sleeper(t, "-pidfile", pidFile))
		fmt.Println("on")
		select {}
	}
	pidFile := t.TempDir() + "/pid"
	program := exec.Command(os.Args[0], "-test.run=^TestNoQEMUOutlivesUs$")
	program.Env = append(os.Environ(), inner+"="+pidFile, "TMPDIR="+t.TempDir())
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Wait()
	defer program.Process.Kill()
	for lines := bufio.NewScanner(out); lines.Text() != "on"; {
		if !lines.Scan() {
			t.Fatal("the machine did not go on")
		}
	}
	qemu := pidfd(t, pidFile)
	defer unix.Close(qemu)
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := []unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}
	n, err := unix.Poll(gone, -1)
	for err == unix.EINTR { // the runtime's own signals
		n, err = unix.Poll(gone, -1)
	}
	if n != 1 || err != nil {
		t.Fatalf("QEMU is still there: %d, %v", n, err)
	}
}

// pidfd opens the process that a file names.
func pidfd(t *testing.T, pidFile string) int {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &pid); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
