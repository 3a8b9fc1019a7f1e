//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// become replaces this program with another, which takes over the terminal, the
// signals and the exit status.
func become(_ context.Context, program string, args []string) error {
	err := syscall.Exec(program, append([]string{filepath.Base(program)}, args...), os.Environ())
	return &os.PathError{Op: "exec", Path: program, Err: err}
}

// leaveTerminal has a program start without a terminal to ask on.
func leaveTerminal(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
