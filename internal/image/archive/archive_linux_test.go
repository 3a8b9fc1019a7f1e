package archive

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/tree/rootfs"
	"github.com/google/go-cmp/cmp"
)

// odd is what a root may hold that a plain copy loses.
const odd = `set -e
mkdir -p odd/sgid odd/sticky
echo text >odd/file && chown 12345:2097152 odd/file && chmod 4751 odd/file && touch -d '1999-12-31 23:59:59.123456789' odd/file
ln odd/file odd/hard && ln odd/file odd/sgid/harder
ln -s ../nowhere odd/dangling && chown -h 7:8 odd/dangling
ln -s "$(printf 'x%.0s' $(seq 300))" odd/long-link
mknod odd/null c 1 3 && mknod odd/disk b 259 70000 && mkfifo odd/pipe
chmod 2775 odd/sgid && chmod 1777 odd/sticky
printf 'capable' >odd/ping && setcap cap_net_raw+ep odd/ping
printf 'acl' >odd/acl && setfacl -m u:1000:rw,g:50:r odd/acl && setfacl -d -m u:1000:rwx odd/sticky
setfattr -n user.note -v 'two words' odd/file
setfattr -n trusted.binary -v 0x00ff0a3d odd/file
truncate -s 50M odd/hole && printf start | dd of=odd/hole conv=notrunc status=none && printf end | dd of=odd/hole bs=1M seek=20 conv=notrunc status=none
truncate -s 12345 odd/all-hole
: >odd/empty
printf x >"odd/$(printf 'n%.0s' $(seq 255))"
mkdir -p "odd/$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 120))" && printf deep >"odd/$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 120))/file"
printf 'space' >'odd/a name  with spaces and "quotes"'
`

// shell runs a script in a directory and returns what it prints.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return string(out)
}

// image returns a file with the sample's image, whose root has a directory of odd
// files, and where that root is mounted.
func image(t *testing.T) (name, mounted string) {
	t.Helper()
	dir := t.TempDir()
	name, mounted = filepath.Join(dir, "image"), filepath.Join(dir, "mounted")
	if err := os.WriteFile(name+".xz", sample.Image, 0o644); err != nil {
		t.Fatal(err)
	}
	shell(t, dir, `xz -d image.xz && mkdir mounted
		start=$(/usr/sbin/sfdisk -l -o start image | tail -n 1)
		mount -o loop,offset=$((start * 512)) image mounted && cd mounted
		`+odd+`cd .. && umount mounted && mount -o loop,ro,offset=$((start * 512)) image mounted`)
	t.Cleanup(func() { shell(t, dir, "umount mounted") })
	return name, mounted
}

// write archives an image.
func write(t *testing.T, name, to string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := rootfs.OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Write(out, tree); err != nil {
		t.Fatal(err)
	}
}

// describe lists all that a tree's copy must have, apart from the boot partition's
// files: kind, mode, owner, time, links, device, target, blocks of sparse files,
// content and attributes of each file.
const describe = `find . -mindepth 1 -path ./lost+found -prune -o -path ./boot/firmware/\* -prune -o -printf '%P %y %#m %U:%G %T@ %l\n' | sort
find . -path ./lost+found -prune -o -path ./boot/firmware/\* -prune -o -type f -printf '%P %s %n\n' | sort
find . -path ./boot/firmware -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
find . -samefile odd/file | sort
find odd -print0 | sort -z | xargs -0 getfattr -h -d -m -`

func TestWrite(t *testing.T) {
	name, mounted := image(t)
	work := t.TempDir()
	archive := filepath.Join(work, "root.tar")
	write(t, name, archive)
	want := shell(t, mounted, describe)
	if !strings.Contains(want, "security.capability") || !strings.Contains(want, "trusted.binary") {
		t.Fatal("the odd files lack their attributes")
	}
	for _, unpack := range []string{
		"tar -x --numeric-owner --same-owner -p --xattrs --xattrs-include='*' --acls -f root.tar -C copy",
		"bsdtar -x --numeric-owner -p --xattrs --acls -f root.tar -C copy",
	} {
		t.Run(strings.Fields(unpack)[0], func(t *testing.T) {
			shell(t, work, "rm -rf copy && mkdir copy && "+unpack)
			got := shell(t, filepath.Join(work, "copy"), describe)
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("-image +copy:\n%s", diff)
			}
			for file, most := range map[string]int{"odd/hole": 64, "odd/all-hole": 8} {
				if kib := shell(t, filepath.Join(work, "copy"), "du -k "+file+" | cut -f 1"); len(kib) > len(fmt.Sprintln(most)) {
					t.Errorf("%s takes %s KiB, want at most %d", file, strings.TrimSpace(kib), most)
				}
			}
			boot := shell(t, work, "cd copy/boot/firmware && find . -type f -print0 | sort -z | xargs -0 sha256sum")
			offset := shell(t, work, "/usr/sbin/sfdisk -l -o start,type "+name+" | awk '/W95/ {print $1 * 512}'")
			shell(t, work, "rm -rf boot && mkdir boot && MTOOLS_SKIP_CHECK=1 mcopy -s -i "+name+"@@"+strings.TrimSpace(offset)+" ::/* boot")
			if diff := cmp.Diff(shell(t, work, "cd boot && find . -type f -print0 | sort -z | xargs -0 sha256sum"), boot); diff != "" {
				t.Errorf("boot partition: -image +copy:\n%s", diff)
			}
		})
	}
}

func TestDeterministic(t *testing.T) {
	name, _ := image(t)
	work := t.TempDir()
	write(t, name, filepath.Join(work, "first"))
	write(t, name, filepath.Join(work, "second"))
	shell(t, work, "cmp first second")
}
