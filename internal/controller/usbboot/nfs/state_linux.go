package nfs

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"golang.org/x/sys/unix"
)

// IDs returns the nodes that have a root.
func (r *Roots) IDs() ([]node.ID, error) {
	var ids []node.ID
	for id := node.MinID; id <= node.MaxID; id++ {
		there, err := r.Has(id)
		if err != nil {
			return nil, err
		}
		if there {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Root returns the tree of a node's root, out of which no name or link leads.
func (r *Roots) Root(id node.ID) (*rootfs.Dir, error) {
	return rootfs.OpenDir(r.dir.Name() + "/" + id.String())
}

// Size returns the bytes that a root takes on the disk, those that it shares with other
// roots included.
func (r *Roots) Size(id node.ID) (int64, error) {
	root, err := r.dir.OpenRoot(id.String())
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var size int64
	linked := map[uint64]bool{} // files of several names that were seen
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return skipGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return skipGone(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Nlink > 1 && !d.IsDir() {
			if linked[stat.Ino] {
				return nil
			}
			linked[stat.Ino] = true
		}
		size += stat.Blocks * 512 // stat(2)
		return nil
	})
	return size, err
}

// skipGone returns err, but nil for a file that a node has removed meanwhile.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Free returns the bytes that are free for roots.
func (r *Roots) Free() (int64, error) {
	var s unix.Statfs_t
	err := unix.Fstatfs(int(r.lock.Fd()), &s)
	return int64(s.Bavail) * int64(s.Bsize), err
}

// serverPort is that of an NFS server.
const serverPort = 2049

// Clients returns the nodes that have a connection to this machine's NFS server, which are
// those that have mounted their roots.
func Clients() ([]node.ID, error) {
	var ids []node.ID
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		more, err := clients(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// clients reads a list of TCP connections (Documentation/networking/proc_net_tcp.rst):
// number, local address, remote address, state, and more.
func clients(list io.Reader) ([]node.ID, error) {
	const established = "01"
	var ids []node.ID
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err != nil || n != serverPort {
			continue
		}
		if id, ok := clientOf(fields[2]); ok {
			ids = append(ids, id)
		}
	}
	return ids, lines.Err()
}

// clientOf returns the node that has an address. The address is written in hex, as words of
// 32 bits in this machine's order of bytes.
func clientOf(address string) (node.ID, bool) {
	digits, _, _ := strings.Cut(address, ":")
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw)%4 != 0 {
		return 0, false
	}
	for at := 0; at < len(raw); at += 4 {
		binary.BigEndian.PutUint32(raw[at:], binary.NativeEndian.Uint32(raw[at:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	ip = ip.Unmap()
	if !ok || !node.NFSNet.Contains(ip) {
		return 0, false
	}
	last := ip.As4()[3]
	id := node.ID(last)
	return id, id >= node.MinID && id <= node.MaxID
}
