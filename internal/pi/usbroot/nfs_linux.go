package usbroot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Where an NFS server listens. Version 4 needs its own port alone.
const (
	nfsPort     = 2049
	rpcbindPort = 111
)

// mountNFS mounts the system. A server that does not answer yet is asked again.
//
// The machine gets its name before: version 4 tells clients apart by their host names
// alone, and two nodes of one name would take each other's open files away for ever.
// Source: RFC 8881, section 2.4; the kernel's Documentation/admin-guide/nfs/nfs-client.rst.
func mountNFS(p Plan) error {
	if err := unix.Sethostname([]byte(p.ID.String())); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	return insist(say, func() error {
		version, err := mountOnce(p)
		if err == nil {
			say("mounted %v:%s (NFS %s)", p.Server, p.Root, version)
		}
		return err
	})
}

// mountOnce tries each version of NFS, and returns the one that the server has.
func mountOnce(p Plan) (version string, err error) {
	if err := listens(p.Server, nfsPort); err != nil {
		return "", err
	}
	var flags uintptr = unix.MS_NOATIME
	if !p.Writable {
		flags |= unix.MS_RDONLY
	}
	source := p.Server.String() + ":" + p.Root
	var errs []error
	for _, version := range versions {
		if version == "3" {
			if err := listens(p.Server, rpcbindPort); err != nil {
				errs = append(errs, err)
				break
			}
		}
		err := unix.Mount(source, newRoot, "nfs", flags, p.options(version))
		if err == nil {
			return version, nil
		}
		errs = append(errs, fmt.Errorf("mount %s, NFS %s: %w", source, version, reason(err)))
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) {
			break // another version would say the same
		}
	}
	return "", errors.Join(errs...)
}

// reason adds what the kernel's answers mean for an NFS root.
func reason(err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: the server exports it to other addresses, or not at all", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the server has no such directory", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this kernel has no NFS", err)
	}
	return err
}

// listens fails, with the reason, if nobody listens on a server's port.
func listens(server netip.Addr, port int) error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(server.String(), strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}
