package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// A labRun is the "clusterctrl lab up" of a script.
type labRun struct {
	*exec.Cmd
	heard chan struct{} // closed when it has said all
}

// labUpBehind starts a cluster and goes on when its first machine is on:
// lab-up ARGS.
func labUpBehind(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command("clusterctrl", append([]string{"lab", "up"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+ts.Getenv("XDG_CACHE_HOME"), "TMPDIR="+ts.Getenv("TMPDIR"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	run := labRun{cmd, make(chan struct{})}
	*ts.Value(labRun{}).(*labRun) = run
	ts.Defer(func() { cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		ts.Fatalf("lab up: %v, %v", err, cmd.Wait())
	}
	go func() {
		io.Copy(io.Discard, lines)
		close(run.heard)
	}()
}

// labEnd sends a signal to a cluster, waits for its end, and checks its exit status:
// lab-end SIGNAL STATUS. Signal 0 is none; a killed cluster has status -1.
func labEnd(ts *testscript.TestScript, _ bool, args []string) {
	run := ts.Value(labRun{}).(*labRun)
	signal, err := strconv.Atoi(args[0])
	ts.Check(err)
	if signal != 0 {
		ts.Check(run.Process.Signal(syscall.Signal(signal)))
	}
	<-run.heard
	run.Wait()
	if got := strconv.Itoa(run.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("lab up ended with %s, want %s", got, args[1])
	}
}
