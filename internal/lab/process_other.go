//go:build !linux

package lab

import "syscall"

// tied does nothing: this system cannot kill a process when the one that started it
// ends.
func tied() *syscall.SysProcAttr { return nil }
