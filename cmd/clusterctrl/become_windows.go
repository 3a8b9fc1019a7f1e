package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// become runs another program to its end and ends as it did.
func become(ctx context.Context, program string, args []string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}

// leaveTerminal has nothing to do: no terminal is asked on Windows.
func leaveTerminal(*exec.Cmd) {}
