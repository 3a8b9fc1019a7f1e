package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tools are the programs that the scripts call and the packages of Debian that
// have them, those of one package together.
var tools = []struct{ program, pack string }{
	{"bash", "bash"}, {"cp", "coreutils"}, {"mkdir", "coreutils"}, {"sed", "sed"},
	{"xz", "xz-utils"}, {"mcopy", "mtools"},
	{"cmp", "diffutils"}, {"bmaptool", "bmap-tools"},
	{"losetup", "mount"}, {"mount", "mount"}, {"findmnt", "util-linux"}, {"flock", "util-linux"}, {"sfdisk", "fdisk"},
	{"e2fsck", "e2fsprogs"}, {"resize2fs", "e2fsprogs"},
	{"dash", "dash"}, {"ldd", "libc-bin"}, {"depmod", "kmod"}, {"qemu-system-x86_64", "qemu-system-x86"}, {"qemu-system-aarch64", "qemu-system-arm"},
	{"zstd", "zstd"}, {"gzip", "gzip"}, {"curl", "curl"}, {"nginx", "nginx-light"},
	{"/usr/bin/python3", "python3-smbus"}, {"time", "time"},
	{"qemu-nbd", "qemu-utils"}, {"qemu-img", "qemu-utils"}, {"nbdkit", "nbdkit"},
	{"mkfs.xfs", "xfsprogs"}, {"mkfs.btrfs", "btrfs-progs"},
}

// checkTools says all that is missing at once.
func checkTools() error {
	if os.Geteuid() != 0 {
		return errors.New("run it as root: it makes file systems in files and mounts them")
	}
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.pack)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs; run: apt-get install %s", strings.Join(slices.Compact(missing), " "))
	}
	return nil
}
