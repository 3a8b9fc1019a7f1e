package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// TestRoomForBranding builds from bases with ever fewer free inodes: all that is built
// can be branded, and what is not built leaves nothing behind.
func TestRoomForBranding(t *testing.T) {
	whole := base(t, "whole.img", 0)
	before := freeInodes(t, whole)
	built := t.TempDir()
	mustBuild(t, whole, built)
	controllers := before - freeInodes(t, filepath.Join(built, imageOf(t, built, "CBRIDGE")))
	refused := 0
	for _, spare := range []int{0, 1, 5, 10, 20, 40, 80} {
		dir := t.TempDir()
		tight := base(t, fmt.Sprintf("%d.img", spare), before-controllers-spare)
		err := buildFrom(tight, dir)
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), "first boot of ") || !strings.HasSuffix(err.Error(), "inodes are in use: make room with --grow 200M") {
				t.Errorf("%d inodes to spare: %v", spare, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%d inodes to spare: left behind: %v, %v", spare, left, err)
			}
			continue
		}
		for _, role := range []node.Role{node.CBridge, node.CNAT, node.ID(2).Role()} {
			image := open(t, filepath.Join(dir, imageOf(t, dir, strings.TrimSuffix(suffix(role), ".img"))))
			if err := recipe.Brand(image, role); err != nil {
				t.Errorf("%d inodes to spare: %v: %v", spare, role, err)
			}
		}
	}
	if refused == 0 || refused == 7 {
		t.Errorf("%d of 7 builds were refused: want some", refused)
	}
}

// TestNoRoomForBackup brands images whose boot partitions have no room for the copy of the
// command line: they do without.
func TestNoRoomForBackup(t *testing.T) {
	dir, without := t.TempDir(), 0
	mustBuild(t, base(t, "whole.img", 0), dir)
	var refused error
	for free := range 4 {
		image := open(t, filepath.Join(dir, imageOf(t, dir, "p2"))) // never closed: nothing is written
		info, err := image.Boot.Info()
		if err != nil {
			t.Fatal(err)
		}
		if err := image.Boot.WriteFile("filler", make([]byte, (info.FreeClusters-free)*info.ClusterSize), 0); err != nil {
			t.Fatal(err)
		}
		if err := recipe.Brand(image, node.ID(2).Role()); err != nil {
			refused = err
			continue
		}
		if line, err := image.Boot.ReadFile(rootfs.CommandLine); err != nil || recipe.StartsBranding(string(line)) {
			t.Errorf("%d clusters free: the command line is %q, %v", free, line, err)
		}
		if _, err := image.Boot.Lstat(recipe.Backup); errors.Is(err, fs.ErrNotExist) {
			without++
		}
	}
	if without == 0 {
		t.Errorf("no image was branded without %s: %v", recipe.Backup, refused)
	}
}

// base writes the sample, with so many inodes in use besides its own, to a file.
func base(t *testing.T, name string, used int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	image, err := rootfs.OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for i := range used {
		if err := image.WriteFile(fmt.Sprint("srv/", i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t *testing.T, file string) *rootfs.Image {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	image, err := rootfs.OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func freeInodes(t *testing.T, file string) int {
	t.Helper()
	return int(open(t, file).Root.Info().FreeInodes)
}

func buildFrom(file, dir string) error {
	_, err := Build(context.Background(), options(file, dir, 2))
	return err
}

// options are those of a build for so many nodes.
func options(file, dir string, nodes int) Options {
	s := settings.Default()
	s.SetNodes(nodes)
	return Options{Base: file, Dir: dir, Settings: s, Programs: func(rootfs.Arch) (map[string][]byte, error) {
		return map[string][]byte{node.Program: []byte("program"), node.ReconfigPath: []byte("first boot")}, nil
	}}
}

func mustBuild(t *testing.T, file, dir string) {
	t.Helper()
	if err := buildFrom(file, dir); err != nil {
		t.Fatal(err)
	}
}

// imageOf returns the name of an output.
func imageOf(t *testing.T, dir, which string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*-"+which+".img"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%d images %s in %s, %v", len(names), which, dir, err)
	}
	return filepath.Base(names[0])
}
