package hostname

import (
	"os"

	"golang.org/x/sys/unix"
)

// SetRunning has the kernel call the machine by a name, as systemd did by the one
// that it found at the start.
func SetRunning(name string) error {
	return os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
}
