package console

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens a serial port for this program alone, raw and at 115200 baud. Errors
// wrap fs.ErrNotExist, fs.ErrPermission or [ErrTaken].
func Open(name string) (*os.File, error) {
	device, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, taken(name, device)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%w: want root%s", &os.PathError{Op: "open", Path: name, Err: err}, orGroup(device))
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	if err := claim(fd, name, device); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// claim keeps other programs off an open port, and makes it raw. Some programs respect
// locks, others the exclusive mode; root may open a port in spite of both, and some
// programs know neither. To find programs that have the port open already takes long, and
// a port echoes its input until it is raw, so claim makes the port raw first.
func claim(fd int, name, device string) error {
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("%s: it is no serial port: %w", name, err)
	}
	if exclusive, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err == nil && exclusive != 0 {
		return taken(name, device)
	}
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return taken(name, device)
	}
	before := *mode
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	mode.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200 // no HUPCL: with it, the node would end its login when the port is closed
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(users(device)) > 0 {
		return errors.Join(taken(name, device), unix.IoctlSetTermios(fd, unix.TCSETS, &before))
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func taken(name, device string) error {
	by := "another program"
	if all := users(device); len(all) > 0 {
		by = strings.Join(all, " and ")
	}
	return fmt.Errorf("%s: %w by %s", name, ErrTaken, by)
}

// users are the other processes that have a device open, as far as this one may see.
func users(device string) []string {
	open, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		panic(err) // the pattern is right
	}
	var all []string
	own, last := strconv.Itoa(os.Getpid()), ""
	for _, file := range open {
		pid := strings.Split(file, "/")[2]
		if target, err := os.Readlink(file); err != nil || target != device || pid == own || pid == last {
			continue
		}
		last = pid
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		all = append(all, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid))
	}
	return all
}

// orGroup names the group that may use a device, dialout as a rule.
func orGroup(device string) string {
	var stat unix.Stat_t
	if unix.Stat(device, &stat) != nil || stat.Mode&0o060 != 0o060 {
		return ""
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", or membership of group %s (sudo adduser $USER %[1]s, then log in again)", group.Name)
}
