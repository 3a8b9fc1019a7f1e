package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/archive"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// memory is a disk image.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m[off:])
	return n, nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// sampleArchive is the tar file of a root for nodes without cards.
var sampleArchive = sync.OnceValues(func() ([]byte, error) {
	disk, err := io.ReadAll(xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict))
	if err != nil {
		return nil, err
	}
	image, err := rootfs.OpenImage(memory(disk), int64(len(disk)))
	if err != nil {
		return nil, err
	}
	system, err := rootfs.Identify(image)
	if err != nil {
		return nil, err
	}
	s := recipe.System{OS: system, Settings: recipe.Settings{Gadget: node.ECM}}
	err = errors.Join(
		edit.Apply(image, recipe.Controller(s, map[string][]byte{node.Program: []byte("program")})),
		edit.Apply(image, recipe.NFSArchive(s, map[string][]byte{"initramfs8": []byte("initramfs")}, []byte("program"))),
	)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = archive.Write(&b, image)
	return b.Bytes(), err
})

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func openRoots(t *testing.T, dir string) *Roots {
	t.Helper()
	roots := must(Open(dir))(t)
	t.Cleanup(func() { roots.Close() })
	return roots
}

func add(t *testing.T, r *Roots, replace bool, ids ...node.ID) error {
	t.Helper()
	return r.Add(t.Context(), Addition{bytes.NewReader(must(sampleArchive())(t)), replace}, ids...)
}

// TestAdd makes roots of two nodes, makes one anew, and removes it.
func TestAdd(t *testing.T) {
	dir := t.TempDir()
	shell(t, dir, "mkdir p5") // as images have it
	r := openRoots(t, dir)
	if err := add(t, r, false, 5, 6); err != nil {
		t.Fatal(err)
	}
	for _, id := range []node.ID{5, 6} {
		root := filepath.Join(dir, id.String())
		for name, part := range map[string]string{
			"etc/hostname":              id.String() + "\n",
			"boot/firmware/cmdline.txt": fmt.Sprintf(" nfsroot=172.19.180.254:/var/lib/clusterctrl/nfs/%v rw ip=172.19.180.%d:", id, id),
			"etc/default/clusterctrl":   fmt.Sprintf("\nID=%d\n", id),
			"etc/fstab":                 fmt.Sprintf("nfs/%v/boot/firmware /boot/firmware nfs", id),
		} {
			if text := must(os.ReadFile(filepath.Join(root, name)))(t); !strings.Contains(string(text), part) {
				t.Errorf("%v: %s lacks %q:\n%s", id, name, part, text)
			}
		}
	}
	if ids := must(r.IDs())(t); fmt.Sprint(ids) != "[p5 p6]" {
		t.Errorf("roots of %v, want p5 and p6", ids)
	}
	if size := must(r.Size(5))(t); size < 1<<20 || size > 1<<26 {
		t.Errorf("the root of p5 takes %d bytes", size)
	}
	before := shell(t, dir, "find . -printf '%P %y %#m %U:%G %T@ %l\n' | sort; find . -type f | sort | xargs -d '\n' sha256sum")
	if err := add(t, r, false, 7, 5); err == nil || !strings.Contains(err.Error(), "p5 has a root already") {
		t.Errorf("p5 once more: %v", err)
	}
	if err := r.Brand(5); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, shell(t, dir, "find . -printf '%P %y %#m %U:%G %T@ %l\n' | sort; find . -type f | sort | xargs -d '\n' sha256sum")); diff != "" {
		t.Errorf("branded twice: -before +after:\n%s", diff)
	}
	if err := add(t, r, true, 5); err != nil {
		t.Error(err)
	}
	if err := r.Remove(5); err != nil {
		t.Error(err)
	}
	if got := shell(t, dir, "ls -A . p5"); got != ".:\np5\np6\n\np5:\n" {
		t.Errorf("without p5:\n%s", got)
	}
	if err := r.Brand(5); err == nil || !strings.Contains(err.Error(), "p5 has no root") {
		t.Errorf("to brand what is not there: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("a second program: %v", err)
	}
}

// TestAddPacked unpacks what zstd and xz packed.
// TestReplacedAtOnce: a root has its name until the new one takes it. With none to take it,
// the old one stays.
func TestReplacedAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := openRoots(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, "p5/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.publish(5); err == nil {
		t.Error("no root was there to take the name, and no error came")
	}
	if has, err := r.Has(5); !has || err != nil {
		t.Errorf("p5 has its root: %t, %v; want it kept", has, err)
	}
}

func TestAddPacked(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root.tar"), must(sampleArchive())(t), 0o644); err != nil {
		t.Fatal(err)
	}
	r := openRoots(t, dir)
	for id, program := range map[node.ID]string{1: "zstd -q -T0", 2: "xz -0 -T2 -k"} {
		shell(t, dir, program+" -c root.tar >packed")
		f := must(os.Open(filepath.Join(dir, "packed")))(t)
		if err := r.Add(t.Context(), Addition{f, false}, id); err != nil {
			t.Errorf("%s: %v", program, err)
		}
		f.Close()
	}
}

// TestAddRefuses leaves nothing behind of what cannot be a node's root.
func TestAddRefuses(t *testing.T) {
	whole := must(sampleArchive())(t)
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"nothing":     {nil, "cut short"},
		"no archive":  {bytes.Repeat([]byte("text "), 1000), "read the archive: "},
		"cut short":   {whole[:len(whole)/2], "cut short"},
		"cut at end":  {whole[:len(whole)-1024], "cut short"},
		"zstd's head": {[]byte{0x28, 0xb5, 0x2f, 0xfd}, "archive"},
		"not of ours": {[]byte(shell(t, t.TempDir(), "mkdir -p a/etc && tar -c -C a .")), "want what \"clusterctrl build --usbboot\" made"},
		"for PCs":     {[]byte(shell(t, t.TempDir(), "mkdir -p a/{etc,bin,usr/share/clusterctrl,boot/firmware} && cp /bin/true a/bin/sh && cp /etc/os-release a/etc && touch a/boot/firmware/{cmdline,config}.txt a/usr/share/clusterctrl/usbroot-clusterctrl && tar -c -C a .")), "ELF machine 62"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openRoots(t, dir)
			err := r.Add(t.Context(), Addition{bytes.NewReader(tt.archive), false}, 5)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %q in one line", err, tt.want)
			}
			if left := shell(t, dir, "ls -A"); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// TestAddFullDisk runs out of space.
func TestAddFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	r := openRoots(t, dir)
	defer r.Close()
	if err := add(t, r, false, 5); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "usbboot remove") {
		t.Errorf("to a full disk: %v", err)
	}
	if left := shell(t, dir, "ls -A"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// hostile are what a node may put in the place of a file that branding reads or writes.
var hostile = map[string]string{
	"link out":            `rm -rf "$f"; ln -s "$outside/victim" "$f"`,
	"link up":             `rm -rf "$f"; ln -s ../../../../../../../../../../..$outside/victim "$f"`,
	"link to nowhere":     `rm -rf "$f"; ln -s $outside/new "$f"`,
	"link to itself":      `rm -rf "$f"; ln -s "$(basename "$f")" "$f"`,
	"link to a directory": `rm -rf "$f"; ln -s $outside "$f"`,
	"parent leads out":    `d=$(dirname "$f"); [ "$d" = . ] || { rm -rf "$d"; ln -s $outside "$d"; }`,
	"parent leads up":     `d=$(dirname "$f"); [ "$d" = . ] || { rm -rf "$d"; ln -s ../../../../../../../../../..$outside "$d"; }`,
	"fifo":                `rm -rf "$f"; mkfifo "$f"`,
	"disk":                `rm -rf "$f"; mknod "$f" b 7 0`,
	"endless":             `rm -rf "$f"; mknod "$f" c 1 5`,
	"huge":                `rm -rf "$f"; truncate -s 1T "$f"`,
	"directory":           `rm -rf "$f"; mkdir -p "$f/x"`,
	"hard link":           `rm -rf "$f"; ln $outside/victim "$f" 2>/dev/null || cp $outside/victim "$f"`,
	"temporary leads out": `ln -s $outside/victim "$(dirname "$f")/.new-$(basename "$f")"`,
}

// TestHostileRoots brands roots whose nodes have put something else in the place of each
// file that branding writes. Whether that works or not: nothing outside changes.
func TestHostileRoots(t *testing.T) {
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=256m"); err != nil { // hundreds of copies are made
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
	shell(t, base, "mkdir roots outside && echo secret >outside/victim && mkdir outside/dir && echo 127.0.0.1 >outside/hosts && chmod 640 outside/victim")
	r := openRoots(t, filepath.Join(base, "roots"))
	if err := add(t, r, false, 5); err != nil {
		t.Fatal(err)
	}
	names := written(t, filepath.Join(base, "roots/p5"))
	names = append(names, "boot/firmware/config.txt", "etc/os-release", "etc/exports", "etc/hosts.deny", "etc/issue", "etc/machine-id",
		"etc/ssh/ssh_host_rsa_key", "etc/NetworkManager/conf.d/90-clusterctrl.conf", "etc/kernel/postinst.d/zz-clusterctrl",
		"usr/lib/systemd/system-preset/50-clusterctrl.preset", "usr/share/clusterctrl/default-clusterctrl", "bin/sh")
	outside := func() string {
		return shell(t, base, "cd outside && find . -printf '%P %y %#m %U:%G %s %T@ %l\n' | sort && find . -type f | sort | xargs sha256sum; cd .. && ls -A . roots")
	}
	shell(t, base, "rm -rf roots/p5/{etc/minicom,var/lib/clusterctrl,usr/sbin/clusterctrl} && cp -a roots/p5 good")
	for kind, script := range hostile {
		t.Run(kind, func(t *testing.T) {
			for _, name := range names {
				shell(t, base, "rm -rf roots/p5 && cp -a good roots/p5 && export outside=$PWD/outside f="+name+" && cd roots/p5 && "+script)
				before := outside()
				err := r.Brand(5)
				if diff := cmp.Diff(before, outside()); diff != "" {
					t.Fatalf("%s: %v: outside changed: -before +after:\n%s", name, err, diff)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: %v tells what is outside", name, err)
				}
			}
		})
	}
}

// written returns the files of p5's root that are changed when it becomes p6's.
func written(t *testing.T, root string) []string {
	t.Helper()
	tree := must(rootfs.OpenDir(root))(t)
	defer tree.Close()
	system := must(rootfs.Identify(tree))(t)
	var names []string
	for _, c := range must(edit.NewPlan(tree, recipe.USBBoot(recipe.System{OS: system}, 6)))(t) {
		names = append(names, path.Clean(c.Name))
	}
	return names
}

// TestClients reads what Linux says of connections.
func TestClients(t *testing.T) {
	const list = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0801 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: FEB413AC:0801 05B413AC:0347 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: FEB413AC:0801 07B413AC:0347 06 00000000:00000000 00:00000000 00000000     0        0 2 1
   3: FEB413AC:0016 08B413AC:0347 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   4: FEB413AC:0801 0901A8C0:0347 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   5: FEB413AC:0801 FEB413AC:0347 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   6: 0000000000000000FFFF0000FEB413AC:0801 0000000000000000FFFF0000FCB413AC:0347 01 0 0
   7: x
`
	if netip.MustParseAddr("172.19.180.5") != node.ID(5).NFSAddr() {
		t.Fatal("the list is of another network")
	}
	if got := must(clients(strings.NewReader(list)))(t); fmt.Sprint(got) != "[p5 p252]" {
		t.Errorf("clients() = %v, want p5 and p252", got)
	}
}
