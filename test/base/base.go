// Package base gives tests real base images: Debian for arm64, laid out as
// Raspberry Pi OS is, so that what is built from them can be checked and booted
// without the vendor's images at hand. The scripts beside it make them, once, and
// say how; see cached.sh and build.sh.
//
// Bookworm has ifupdown and dhclient, Trixie NetworkManager, netplan and
// cloud-init, DHCPCD is Bookworm with the network of the vendor's releases
// before it, and NFS is Bookworm with an NFS server. None has the vendor's kernel, firmware and overlays: the kernel is
// Debian's; Trixie has the newest of its backports too, as kernel8-backports.img.
// Scripts do what the vendor's first boot does, in its order, the initramfs's part
// among it, and leave a line in /var/lib/vendor-firstboot.log.
package base

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The releases that there are images of.
const (
	Bookworm = "bookworm"
	DHCPCD   = "dhcpcd"
	NFS      = "nfs"
	Trixie   = "trixie"
)

// Path returns the path of a release's image, 2 GiB and sparse, which must not be
// changed. If there is none yet, it is made, which takes a minute or two.
func Path(t testing.TB, release string) string {
	t.Helper()
	return cached(t, release+".img")
}

// PathXZ is Path, of the image compressed by xz in several blocks.
func PathXZ(t testing.TB, release string) string {
	t.Helper()
	return cached(t, release+".img.xz")
}

func cached(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(moduleRoot(t), "test/base/cached.sh"), name)
	var log bytes.Buffer
	cmd.Stderr = &log
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, log.Bytes())
	}
	return strings.TrimSuffix(string(path), "\n")
}

// moduleRoot returns the directory of go.mod. Tests run in that of their package.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no go.mod in the working directory or above: %v", err)
	return ""
}
