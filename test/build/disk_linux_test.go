package build_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk is an image with what sfdisk says of its two partitions, in bytes.
type disk struct {
	path                           string
	boot, bootSize, root, rootSize int64
	label                          string // the id in the disk label
}

func openDisk(t testing.TB, path string) disk {
	t.Helper()
	var table struct {
		PartitionTable struct {
			ID         string
			Partitions []struct {
				Start, Size int64 // in sectors
			}
		}
	}
	if err := json.Unmarshal([]byte(judge(t, "sfdisk", "--json", path)), &table); err != nil {
		t.Fatal(err)
	}
	p := table.PartitionTable.Partitions
	if len(p) != 2 {
		t.Fatalf("%s has %d partitions, want 2", path, len(p))
	}
	return disk{
		path: path, label: table.PartitionTable.ID,
		boot: p[0].Start * 512, bootSize: p[0].Size * 512,
		root: p[1].Start * 512, rootSize: p[1].Size * 512,
	}
}

// copyDisk makes a copy that may be changed.
func copyDisk(t testing.TB, d disk) disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(d.path))
	judge(t, "cp", "--reflink=auto", "--sparse=always", d.path, path)
	d.path = path
	return d
}

// mount lets the kernel show the root file system for the rest of the test.
func (d disk) mount(t testing.TB) string {
	t.Helper()
	dir, unmount := d.attach(t, "ro,noload")
	t.Cleanup(unmount)
	return dir
}

// change runs edit on the mounted root file system. A mount namespace that is made
// meanwhile, as by tests of other packages, keeps the file system mounted for longer:
// making it read-only ends its journal in any case.
func (d disk) change(t testing.TB, edit func(root string)) {
	t.Helper()
	dir, unmount := d.attach(t, "rw")
	defer unmount()
	defer judge(t, "mount", "-o", "remount,ro", dir)
	edit(dir)
}

func (d disk) attach(t testing.TB, options string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	options = fmt.Sprintf("loop,offset=%d,sizelimit=%d,%s", d.root, d.rootSize, options)
	judge(t, "mount", "-t", "ext4", "-o", options, d.path, dir)
	return dir, func() { judge(t, "umount", dir) }
}

// debugfs carries out a request on the root file system.
func (d disk) debugfs(t testing.TB, request string) string {
	t.Helper()
	return judge(t, "debugfs", "-w", "-R", request, d.ext4())
}

// ext4 is how programs of e2fsprogs name the root file system.
func (d disk) ext4() string { return fmt.Sprintf("%s?offset=%d", d.path, d.root) }

// fat is how mtools name the boot partition.
func (d disk) fat() string { return fmt.Sprintf("%s@@%d", d.path, d.boot) }

// bootTree copies the boot partition's files into a directory.
func (d disk) bootTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	judge(t, "mcopy", "-s", "-m", "-n", "-i", d.fat(), "::", dir)
	return dir
}

func (d disk) bootFile(t testing.TB, name string) string {
	t.Helper()
	return judge(t, "mtype", "-i", d.fat(), "::"+name)
}

// setBootFile writes a file of the boot partition.
func (d disk) setBootFile(t testing.TB, name, text string) {
	t.Helper()
	source := filepath.Join(t.TempDir(), "text")
	writeFile(t, source, text)
	judge(t, "mcopy", "-o", "-i", d.fat(), source, "::"+name)
}

// wantClean asks e2fsck and fsck.fat.
func (d disk) wantClean(t testing.TB) {
	t.Helper()
	judge(t, "e2fsck", "-fn", d.ext4())
	loop := strings.TrimSpace(judge(t, "losetup", "--find", "--show", "--read-only",
		"--offset", fmt.Sprint(d.boot), "--sizelimit", fmt.Sprint(d.bootSize), d.path))
	defer judge(t, "losetup", "--detach", loop)
	judge(t, "fsck.fat", "-n", loop)
}

// differing returns the numbers of the sectors in which two files differ.
func differing(t testing.TB, a, b string) []int64 {
	t.Helper()
	fa, fb := open(t, a), open(t, b)
	defer fa.Close()
	defer fb.Close()
	if sizeA, sizeB := size(t, a), size(t, b); sizeA != sizeB {
		t.Fatalf("%s has %d bytes, %s %d", a, sizeA, b, sizeB)
	}
	const chunk = 1 << 20
	bufA, bufB := make([]byte, chunk), make([]byte, chunk)
	var sectors []int64
	for off := nextData(t, 0, fa, fb); off < size(t, a); off = nextData(t, off+chunk, fa, fb) {
		off &^= chunk - 1
		n, errA := fa.ReadAt(bufA, off)
		m, errB := fb.ReadAt(bufB, off)
		if n != m || errA != errB || errA != nil && errA != io.EOF {
			t.Fatalf("%s: %v; %s: %v", a, errA, b, errB)
		}
		for i := 0; i < n && !bytes.Equal(bufA[i:n], bufB[i:n]); i += 512 {
			if !bytes.Equal(bufA[i:min(i+512, n)], bufB[i:min(i+512, n)]) {
				sectors = append(sectors, (off+int64(i))/512)
			}
		}
	}
	return sectors
}

// nextData returns the first offset from off on where one of two files has no
// hole.
func nextData(t testing.TB, off int64, a, b *os.File) int64 {
	t.Helper()
	next := int64(math.MaxInt64)
	for _, f := range []*os.File{a, b} {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if err == nil {
			next = min(next, data)
		} else if !errors.Is(err, unix.ENXIO) { // holes to the end
			t.Fatal(err)
		}
	}
	return next
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tmpfs mounts a file system in memory for the rest of the test.
func tmpfs(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount tmpfs: %v (it needs root)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
