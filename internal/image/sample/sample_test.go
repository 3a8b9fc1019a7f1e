package sample

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Where make-sample.sh puts the file systems.
const (
	bootStart, bootEnd = 4 << 20, 44 << 20
	rootStart, rootEnd = bootEnd, 128 << 20
)

// tool returns the path of a program that the tests need, which a PATH without
// the sbin directories may not reach.
func tool(t *testing.T, name, debianPackage string) string {
	t.Helper()
	for _, program := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	t.Fatalf("no %s: apt-get install %s", name, debianPackage)
	return ""
}

func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", path, args, err, out)
	}
	return string(out)
}

// decoded returns the image, decompressed by xz.
func decoded(t *testing.T) []byte {
	t.Helper()
	cmd := exec.Command(tool(t, "xz", "xz-utils"), "-dc")
	cmd.Stdin = bytes.NewReader(Image)
	raw, err := cmd.Output()
	if err != nil || len(raw) != rootEnd {
		t.Fatalf("xz -dc: %d bytes, %v; want %d", len(raw), err, rootEnd)
	}
	return raw
}

// partitions returns files with the two file systems.
func partitions(t *testing.T) (boot, root string) {
	t.Helper()
	raw, dir := decoded(t), t.TempDir()
	boot, root = filepath.Join(dir, "boot"), filepath.Join(dir, "root")
	for name, content := range map[string][]byte{boot: raw[bootStart:bootEnd], root: raw[rootStart:rootEnd]} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return boot, root
}

func TestFileSystemsAreClean(t *testing.T) {
	boot, root := partitions(t)
	output(t, tool(t, "fsck.fat", "dosfstools"), "-n", boot)
	output(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", root)
}

// A file of each kind, so that a script that went wrong half-way is noticed.
func TestFiles(t *testing.T) {
	boot, root := partitions(t)
	debugfs := tool(t, "debugfs", "e2fsprogs")
	if line := output(t, tool(t, "mtype", "mtools"), "-i", boot, "::cmdline.txt"); !strings.HasSuffix(line, " init=/usr/lib/raspberrypi-sys-mods/firstboot\n") {
		t.Errorf("cmdline.txt = %q, without the vendor's first boot at its end", line)
	}
	for _, tt := range []struct{ request, want string }{
		{"cat /etc/hostname", "raspberrypi\n"},
		{"cat /usr/lib/os-release", "VERSION_CODENAME=bookworm\n"},
		{"stat /etc/os-release", `dest: "../usr/lib/os-release"`},
		{"stat /etc/shadow", "Mode:  0640"},
		{"stat /etc/ssh/ssh_host_rsa_key", "Mode:  0600"},
		{"stat /home/pi", "User:  1000"},
		{"stat /usr/lib/raspberrypi-sys-mods/firstboot", "Mode:  0755"},
		{"stat /etc/systemd/system/multi-user.target.wants/NetworkManager.service", "Type: symlink"},
	} {
		if got := output(t, debugfs, "-R", tt.request, root); !strings.Contains(got, tt.want) {
			t.Errorf("%s:\n%s\nwant %q in it", tt.request, got, tt.want)
		}
	}
}

// A controller has 252 roots and 252 minicom files, and carries this program.
func TestRoom(t *testing.T) {
	_, root := partitions(t)
	free := map[string]int{}
	for line := range strings.Lines(output(t, tool(t, "dumpe2fs", "e2fsprogs"), "-h", root)) {
		key, value, _ := strings.Cut(line, ":")
		free[key], _ = strconv.Atoi(strings.TrimSpace(value))
	}
	if blocks := free["Free blocks"] - free["Reserved block count"]; blocks < 40<<20/4096 {
		t.Errorf("%d blocks free, want 40 MiB", blocks)
	}
	if inodes := free["Free inodes"]; inodes < 1500 {
		t.Errorf("%d inodes free, want 1500", inodes)
	}
}
