package power

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// throttledTag asks a Pi's firmware whether it is short of voltage or too hot.
// Source: the wiki of raspberrypi/firmware, "Mailbox property interface".
const throttledTag = 0x00030046

// mailboxProperty is _IOWR(100, 0, char *), of drivers/char/broadcom/vcio.c.
const mailboxProperty = 3<<30 | uint(unsafe.Sizeof(uintptr(0)))<<16 | 100<<8

// Throttled returns what the Pi's firmware says of its supply and temperature, as
// vcgencmd get_throttled does, such as "0x50005"; empty if this machine is no Pi.
func Throttled() string {
	f, err := os.OpenFile("/dev/vcio", os.O_RDWR, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	message := [7]uint32{28, 0, throttledTag, 4, 0, 0, 0} // sizes in bytes
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(mailboxProperty), uintptr(unsafe.Pointer(&message)))
	runtime.KeepAlive(f)
	const success = 0x80000000
	if errno != 0 || message[1] != success {
		return ""
	}
	return fmt.Sprintf("%#x", message[5])
}
