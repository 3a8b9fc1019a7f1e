//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
)

// become replaces this program with another: terminal, signals and exit status
// are that one's.
func become(_ context.Context, program string, args []string) error {
	err := syscall.Exec(program, append([]string{filepath.Base(program)}, args...), os.Environ())
	return &os.PathError{Op: "exec", Path: program, Err: err}
}
