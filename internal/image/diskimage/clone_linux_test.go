package diskimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// loopMount makes a file system of size bytes and mounts it.
func loopMount(t testing.TB, kind string, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatalf("mounting %s takes root", kind)
	}
	dir := t.TempDir()
	disk, point := filepath.Join(dir, "disk"), filepath.Join(dir, kind)
	if err := errors.Join(os.WriteFile(disk, nil, 0o666), os.Truncate(disk, size), os.Mkdir(point, 0o777)); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "mkfs."+kind, "-q", disk)
	run(t, dir, "mount", "-o", "loop", disk, point)
	t.Cleanup(func() { run(t, dir, "umount", point) })
	return point
}

// usage returns how many bytes a file takes on the disk.
func usage(t testing.TB, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := errors.Join(f.Sync(), unix.Fstat(int(f.Fd()), &st)); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// extents asks the kernel (FIEMAP) how many extents a file has.
func extents(t testing.TB, f *os.File) int {
	t.Helper()
	out := run(t, ".", "filefrag", "-v", f.Name())
	return strings.Count(out, "..") / 2 // each line has a logical and a physical range
}

// holey returns an image of n bytes: data with a hole of 64 KiB in each MiB,
// and from 16 to 24 MiB nothing.
func holey(n int) []byte {
	image := bytes.Repeat([]byte("dat\xff"), n/4)
	for off := 0; off < n; off += 1 << 20 {
		clear(image[off+512<<10:][:64<<10])
	}
	clear(image[16<<20 : 24<<20])
	return image
}

const nodes = 252

func TestCloneReflink(t *testing.T) {
	image := append(holey(60<<20), make([]byte, sectorSize)...)
	clear(image[56<<20:])
	name := pack(t, image, "")
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := loopMount(t, kind, 1<<30)
			if !SharesBlocks(dir) {
				t.Fatalf("%s does not share blocks", kind)
			}
			mustBeEmpty(t, dir)
			names := []string{"controller.img"}
			for n := range nodes {
				names = append(names, fmt.Sprintf("p%d.img", n+1))
			}
			out, err := Create(dir, Refuse, names...)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Abort()
			controller := out.Files[0].File
			decodeTo(t, name, FewExtents, controller)
			if err := controller.Sync(); err != nil {
				t.Fatal(err)
			}
			if n := extents(t, controller); n > 4 {
				t.Errorf("%d extents", n)
			}
			if got, most := usage(t, controller), int64(49<<20); got > most {
				t.Errorf("%d bytes used; the holes of 8 and 4 MiB should be two", got)
			}
			testClones(t, dir, image, out)
		})
	}
}

// testClones makes a node's image of each output but the first.
func testClones(t *testing.T, dir string, image []byte, out *Outputs) {
	before := used(t, dir)
	sector := bytes.Repeat([]byte{7}, sectorSize)
	// A patch of a compressed image may lie in two blocks of the file system.
	within, last := Patch{4<<20 + 4096 - 100, append(sector, "checksum"...)}, Patch{int64(len(image)) - sectorSize, sector}
	for i, f := range out.Files[1:] {
		patch := within
		if i == 0 {
			patch = last
		}
		if err := errors.Join(f.Clone(t.Context(), out.Files[0].File, nil), patch.Apply(f.File)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Commit(); err != nil {
		t.Fatal(err)
	}
	// A node costs the block of its sector and its own metadata, not its data.
	if more, most := used(t, dir)-before, int64(nodes*32<<10); more > most {
		t.Errorf("%d clones take %d bytes, want %d at most", nodes, more, most)
	}
	if got := contents(t, filepath.Join(dir, "controller.img")); !bytes.Equal(got, image) {
		t.Error("the controller's image changed")
	}
	for name, patch := range map[string]Patch{"p1.img": last, "p252.img": within} {
		want := bytes.Clone(image)
		copy(want[patch.Offset:], patch.Data)
		if got := contents(t, filepath.Join(dir, name)); !bytes.Equal(got, want) {
			t.Errorf("%s is not the patched image", name)
		}
	}
}

func used(t testing.TB, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(unix.Syncfs(int(d.Fd())), unix.Statfs(dir, &st)); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize)
}

func decodeTo(t testing.TB, name string, layout Layout, files ...*os.File) {
	t.Helper()
	in, err := Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Decode(context.Background(), files, layout, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCloneSparse copies where no blocks are shared: within ext4, and from
// there to tmpfs and back, where the kernel does not copy by itself.
func TestCloneSparse(t *testing.T) {
	image := holey(32 << 20)
	ext4 := loopMount(t, "ext4", 256<<20)
	tmpfs := t.TempDir()
	run(t, tmpfs, "mount", "-t", "tmpfs", "none", tmpfs)
	t.Cleanup(func() { run(t, "/", "umount", tmpfs) })
	src := newOutput(t, ext4, "src.img")
	decodeTo(t, pack(t, image, ""), Sparse, src.File)
	for _, dir := range []string{ext4, tmpfs, ext4} {
		dst := newOutput(t, dir, "dst.img")
		var seen counted
		if err := dst.Clone(t.Context(), src.File, &seen); err != nil {
			t.Fatal(err)
		}
		if int(seen) != len(image) {
			t.Errorf("progress told of %d bytes of %d", seen, len(image))
		}
		if got, want := usage(t, dst.File), int64(23<<20); got > want {
			t.Errorf("%s: %d bytes used, want %d at most", dir, got, want)
		}
		if !bytes.Equal(contents(t, dst.Name()), image) {
			t.Errorf("%s: the copy differs", dir)
		}
		src = dst
	}
	part := newOutput(t, tmpfs, "part.img")
	if err := CopyRange(t.Context(), part.File, 1<<20, src.File, 512, 2<<20); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, part.Name()); !bytes.Equal(got, append(make([]byte, 1<<20), image[512:][:2<<20]...)) {
		t.Error("the copied part differs")
	}
}

func newOutput(t testing.TB, dir, name string) *Output {
	t.Helper()
	out, err := Create(dir, Refuse, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Abort)
	return out.Files[0]
}

// TestFullDisk runs itself in a mount namespace of its own, where it may mount
// a small tmpfs without being root.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv("FULL_DISK")
	if dir == "" {
		inNamespace(t, "FULL_DISK="+t.TempDir())
		return
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	image := bytes.Repeat([]byte{1}, 5<<20)
	for _, tt := range packings[:5] {
		err := build(dir, pack(t, image, tt.suffix, tt.command...), nil)
		want := dir + "/out.img: no space left on device"
		if !errors.Is(err, unix.ENOSPC) || err.Error() != want {
			t.Errorf("%s: %v, want %s", tt.name, err, want)
		}
		mustBeEmpty(t, dir)
	}
	testFullCopy(t, dir, pack(t, image, ""))
}

func testFullCopy(t *testing.T, dir, name string) {
	src, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	out, err := Create(dir, Refuse, "a.img", "b.img")
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Files[1].Clone(t.Context(), src, nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Clone() = %v", err)
	}
	out.Abort()
	mustBeEmpty(t, dir)
}

// inNamespace runs the test again with more in its environment.
func inNamespace(t *testing.T, env string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
