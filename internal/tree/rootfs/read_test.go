package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadText has each kind of tree refuse a file that no memory holds, and one a
// byte over the limit, and take one of the limit.
func TestReadText(t *testing.T) {
	const terabyte = 1 << 40
	sizes := map[string]int64{"etc/huge": terabyte, "etc/over": maxText + 1, "etc/limit": maxText}
	for name, tree := range map[string]Tree{"Dir": sparseDir(t, sizes), "Image": sparseImage(t, sizes)} {
		for kind, tree := range map[string]Tree{name: tree, "Overlay of " + name: NewOverlay(tree)} {
			for file, size := range sizes {
				text, err := ReadText(tree, file)
				switch {
				case size > maxText && (err == nil || !strings.Contains(err.Error(), file+": it has ")):
					t.Errorf("%s, %s: got %d bytes, %v", kind, file, len(text), err)
				case size <= maxText && (err != nil || int64(len(text)) != size):
					t.Errorf("%s, %s: got %d bytes, %v; want %d", kind, file, len(text), err, size)
				}
			}
			if _, err := ReadText(tree, "etc/none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: of a file that is not there: %v", kind, err)
			}
			if _, err := ReadText(tree, "etc"); !errors.Is(err, syscall.EISDIR) {
				t.Errorf("%s: of a directory: %v", kind, err)
			}
		}
	}
}

// TestOverlayOfLargeFile has an overlay, which keeps what files were before, refuse to
// change one that is larger than all that edits replace.
func TestOverlayOfLargeFile(t *testing.T) {
	for name, change := range map[string]func(*Overlay) error{
		"write":  func(o *Overlay) error { return o.WriteFile("etc/huge", nil, 0o644) },
		"remove": func(o *Overlay) error { return o.Remove("etc/huge") },
		"chmod":  func(o *Overlay) error { return o.Chmod("etc/huge", 0o600) },
	} {
		overlay := NewOverlay(sparseDir(t, map[string]int64{"etc/huge": maxKept + 1}))
		err := change(overlay)
		if err == nil {
			_, err = overlay.Changes()
		}
		if err == nil || !strings.Contains(err.Error(), "etc/huge: it has ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadPipe would never end if reading waited for a program that writes to the pipe.
func TestReadPipe(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mkfifo", filepath.Join(dir, "pipe")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tree, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for _, tree := range []Tree{tree, NewOverlay(tree)} {
		if _, err := ReadText(tree, "pipe"); err == nil || !strings.Contains(err.Error(), "want a regular file") {
			t.Errorf("%T: %v", tree, err)
		}
	}
}

// sparseDir returns a tree with files that are nothing but holes.
func sparseDir(t *testing.T, sizes map[string]int64) *Dir {
	t.Helper()
	dir := t.TempDir()
	for name, size := range sizes {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644), os.Truncate(file, size)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// sparseImage returns the sample with files that are nothing but holes, which debugfs
// makes.
func sparseImage(t *testing.T, sizes map[string]int64) *Image {
	t.Helper()
	d := newDisk(t)
	root := openImage(t, d).Table.Partitions[rootPartition]
	part := filepath.Join(t.TempDir(), "root")
	if err := extract(d, root.Start, root.Size, part); err != nil {
		t.Fatal(err)
	}
	var requests strings.Builder
	for name, size := range sizes {
		requests.WriteString("write /dev/null /" + name + "\nset_inode_field /" + name + " size " + fmt.Sprint(size) + "\n")
	}
	debugfs := exec.Command("debugfs", "-w", "-f", "-", part)
	debugfs.Stdin = strings.NewReader(requests.String())
	if out, err := debugfs.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(content, root.Start); err != nil {
		t.Fatal(err)
	}
	return openImage(t, d)
}
