package inside

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// auditArchs are the architectures of system calls, by Go's names, see seccomp(2).
var auditArchs = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Places in struct seccomp_data of <linux/seccomp.h>, in bytes. Both machines have the low
// half of an argument first.
const (
	callNumber   = 0
	callArch     = 4
	callArgument = 16 // the first of those, 8 bytes each
)

// forbidFreezing has the system call kill(-1, SIGSTOP), which stops all other processes,
// succeed and do nothing: in this program, in the one that it becomes, and in all that they
// start. When a system shuts down, PID 1 makes that call, and then looks at each process. On
// a Pi, the kernel alone reaches the root file system. Here the end of the cable is a process:
// with that process stopped, PID 1 would wait for ever for a file in /proc, whose name
// begins in the root.
//
// The calling goroutine must be locked to its thread until that execs.
func forbidFreezing() error {
	arch, ok := auditArchs[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("system calls of %s are not known", runtime.GOARCH)
	}
	everyone, stop := int32(-1), uint32(unix.SIGSTOP)
	const allow, pretend = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO // of error 0
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: callArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arch, SkipTrue: 7},
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_KILL, SkipTrue: 5},
		bpf.LoadAbsolute{Off: callArgument, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(everyone), SkipTrue: 3},
		bpf.LoadAbsolute{Off: callArgument + 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: stop, SkipTrue: 1},
		bpf.RetConstant{Val: pretend},
		bpf.RetConstant{Val: allow},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); err != 0 {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}
