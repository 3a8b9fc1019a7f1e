//go:build !linux

package lab

import "syscall"

// tied has no way here to bind the life of a process to ours.
func tied() *syscall.SysProcAttr { return nil }
